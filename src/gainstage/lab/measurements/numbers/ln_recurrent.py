"""The size of a recurrent network's state and gradient by step, what padding changes, and a short training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gainstage.lab.apparatus.recurrent import RECURRENT_NORMS, RecurrentNet, recurrent_net
from gainstage.lab.apparatus.trained_network import trained_network
from gainstage.lab.catalogue.numbers.ln_recurrent import RecurrentDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data, Spec
from gainstage.sweep.data import loaded

_ACTIVATIONS = ("relu", "tanh")
_DRAWN = 16  # steps of a sequence that the figure shows


def measure(design: RecurrentDesign, seed: int) -> list[Row]:
    """Drift over noise for every norm, activation and gain; padding and training for every norm."""
    rows: list[Row] = []
    for norm in RECURRENT_NORMS:
        for activation in _ACTIVATIONS:
            for gain in design.gains:
                rows += _drift(design, seed, norm, activation, gain)
        rows += [_padding(design, seed, norm), _trained(design, seed, norm)]
    return rows


def control(design: RecurrentDesign, seed: int) -> list[Row]:
    """Drift without a norm where it grows: of several networks, since one matrix's growth scatters at this width."""
    nets = range(design.control_nets)
    return [row for net in nets for row in _drift(design, seed, "none", "relu", design.growing, net=net)]


def log_sizes(model: RecurrentNet, inputs: Tensor, direction: Tensor) -> tuple[list[float], list[float]]:
    """ln rms over batch and units, by step, of the state and of the gradient of ⟨logits, direction⟩ by it."""
    states = model.states(inputs)
    gradients = torch.autograd.grad((model.read_out(states[-1]) * direction).sum(), states)
    return [_log_rms(state.detach()) for state in states], [_log_rms(gradient) for gradient in gradients]


def slope(values: list[float]) -> float | None:
    """Least squares over equally spaced points; None if a value is not finite."""
    middle = (len(values) - 1) / 2
    scale = sum((index - middle) ** 2 for index in range(len(values)))
    found = sum((index - middle) * value for index, value in enumerate(values)) / scale
    return found if math.isfinite(found) else None


def _drift(
    design: RecurrentDesign, seed: int, norm: str, activation: str, gain: float, *, net: int = 0
) -> list[Row]:  # fmt: skip
    with preserved_rng(generator(seed, "ln-recurrent", "weights", str(net)).initial_seed()):
        model = RecurrentNet(design.horizon, design.width, activation=activation, norm=norm, gain=gain).double()
    draws = generator(seed, "ln-recurrent", "noise")
    inputs = torch.randn(design.batch, design.horizon, generator=draws, dtype=torch.float64)
    direction = torch.randn(design.batch, 10, generator=draws, dtype=torch.float64)
    states, gradients = log_sizes(model, inputs, direction)
    state, backward = slope(states), slope(gradients)
    where: Row = {"norm": norm, "activation": activation, "gain": gain}
    rows: list[Row] = [{
        "kind": "drift", **where, "state_slope": state, "state_drift": None if state is None else abs(state),
        # Towards earlier steps, the way that a gradient goes.
        "gradient_slope": None if backward is None else -backward,
    }]  # fmt: skip
    if activation == "relu" and net == 0:
        for step in range(0, design.horizon, max(1, design.horizon // _DRAWN)):
            figures = {"log_state": _decades(states[step]), "log_gradient": _decades(gradients[step])}
            rows.append({"kind": "step", **where, "step": step + 1, **figures})
    return rows


def _padding(design: RecurrentDesign, seed: int, norm: str) -> Row:
    """How much the first sequence's output changes when half of the others end at half and are padded with zeros."""
    data = loaded(_spec(design, seed, norm))
    chosen = torch.randperm(data.samples, generator=generator(seed, "ln-recurrent", "batch"))[: design.batch]
    whole = data.train_inputs[chosen].double()
    cut = whole.clone()
    cut[design.batch // 2 :, whole.shape[1] // 2 :] = 0.0
    with preserved_rng(seed), torch.no_grad():
        model = RecurrentNet(whole.shape[1], design.width, norm=norm).double()
        alone, beside = model(whole)[0], model(cut)[0]
    return {"kind": "padding", "norm": norm, "change": float((beside - alone).norm() / alone.norm())}


def _trained(design: RecurrentDesign, seed: int, norm: str) -> Row:
    spec = _spec(design, seed, norm)
    network, data = trained_network(spec, spec.cells()[0]).eval(), loaded(spec)
    accuracy, padded = (_accuracy(network, data, zeros) for zeros in (0, design.padding))
    return {"kind": "trained", "norm": norm, "accuracy": accuracy, "padded_accuracy": padded}


@torch.no_grad()
def _accuracy(network: torch.nn.Module, data: Data, zeros: int) -> float:
    inputs = torch.cat([data.test_inputs.new_zeros(len(data.test_inputs), zeros), data.test_inputs], dim=1)
    return float((network(inputs).argmax(1) == data.test_targets).double().mean())


def _spec(design: RecurrentDesign, seed: int, norm: str) -> Spec:
    spec = Spec(name="length", model=recurrent_net, data=design.data, fixed={"norm": norm})
    return Spec(
        name="ln-recurrent", model=recurrent_net, data=design.data, steps=design.train_steps,
        measure=(design.train_steps,), metrics=("train_loss",),
        fixed={
            "norm": norm, "width": design.width, "steps": loaded(spec).train_inputs.shape[1], "optimizer": "adam",
            "lr": design.lr, "clip": 1.0, "seed": seed,
        },
    )  # fmt: skip


def _log_rms(tensor: Tensor) -> float:
    size = float(tensor.square().mean())
    return 0.5 * math.log(size) if size > 0 else -math.inf


def _decades(natural: float) -> float | None:
    return natural / math.log(10) if math.isfinite(natural) else None
