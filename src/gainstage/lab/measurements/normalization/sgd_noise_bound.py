"""The gradient of every batch of a small data set, and of every sample, against the bound of their noise."""

from __future__ import annotations

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.catalogue.normalization.sgd_noise_bound import INDEPENDENT, ONE_CLASS, NoiseDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator, preserved_rng


def measure(design: NoiseDesign, seed: int) -> list[Row]:
    """Both ways of drawing without normalization, and different samples with BN in training mode."""
    found = _rows(design, seed, "none", INDEPENDENT)
    return found + _rows(design, seed, "batch", ("without",))


def control(design: NoiseDesign, seed: int) -> list[Row]:
    """Batches of one class, without normalization."""
    return _rows(design, seed, "none", (ONE_CLASS,))


def batches(draw: str, classes: int, per_class: int, size: int) -> Tensor:
    """Every batch, equally likely, as rows of sample numbers; the samples are sorted by class.

    Args:
        draw: ``with`` replacement, ``without``, or ``one class`` (without, and all of one class).
        classes, per_class: Of the set.
        size: Of a batch.
    """
    samples = range(classes * per_class)
    if draw == "with":
        return torch.tensor(list(itertools.product(samples, repeat=size)))
    parts = [samples] if draw == "without" else [samples[first:][:per_class] for first in samples[::per_class]]
    return torch.tensor([chosen for part in parts for chosen in itertools.combinations(part, size)])


def gradients(model: nn.Module, inputs: Tensor, targets: Tensor, chosen: Tensor) -> Tensor:
    """The gradient of the mean loss of each batch, as rows over all parameters."""
    weights = {name: value.detach() for name, value in model.named_parameters()}
    rest = {name: value.detach() for name, value in model.named_buffers()}

    def loss(weights: dict[str, Tensor], numbers: Tensor) -> Tensor:
        outputs = functional_call(model, {**weights, **rest}, (inputs[numbers],))
        return F.cross_entropy(outputs, targets[numbers])

    found = vmap(grad(loss), in_dims=(None, 0))(weights, chosen)
    return torch.cat([value.flatten(1) for value in found.values()], 1)


def _rows(design: NoiseDesign, seed: int, norm: str, draws: tuple[str, ...]) -> list[Row]:
    inputs, targets = _samples(design, seed)
    model = _network(design, seed, norm)
    rows = list[Row]()
    for net in ("initial", "trained"):
        if net == "trained":
            _descend(model, inputs, targets, design)
        for draw, size in itertools.product(draws, design.batches):
            chosen = batches(draw, design.classes, design.per_class, size)
            rows.append({"net": net, "norm": norm, "draw": draw, "batch": size} | _sides(
                model, inputs, targets, chosen, design.alpha
            ))  # fmt: skip
    return rows


def _sides(model: nn.Module, inputs: Tensor, targets: Tensor, chosen: Tensor, alpha: float) -> Row:
    whole = torch.arange(len(inputs))
    in_training, frozen = _by_batch(model), _frozen(model, inputs)
    alone = gradients(frozen, inputs, targets, whole[:, None])
    c = (alone - alone.mean(0)).square().sum(1).mean()
    full = gradients(in_training, inputs, targets, whole[None])
    left = (alpha * (gradients(in_training, inputs, targets, chosen) - full)).square().sum(1).mean()
    right = alpha**2 / chosen.shape[1] * c
    return {"left": float(left), "right": float(right), "ratio": float(left / right)}


def _samples(design: NoiseDesign, seed: int) -> tuple[Tensor, Tensor]:
    data, draws = digits(), generator(seed, "sgd-noise-bound")
    order = torch.randperm(data.samples, generator=draws)
    labels = data.train_targets[order]
    chosen = torch.cat([order[labels == label][: design.per_class] for label in range(design.classes)])
    return data.train_inputs[chosen].double(), data.train_targets[chosen]


def _network(design: NoiseDesign, seed: int, norm: str) -> nn.Module:
    with preserved_rng(seed):
        return mlp(design.depth, design.width, norm=norm).double()


def _descend(model: nn.Module, inputs: Tensor, targets: Tensor, design: NoiseDesign) -> None:
    updates = torch.optim.SGD(model.parameters(), design.alpha)
    for _ in range(design.warmup):
        updates.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        updates.step()


def _by_batch(model: nn.Module) -> nn.Module:
    """The network in training mode; its batch norms keep no averages, which vmap could not write."""
    found = copy.deepcopy(model).train()
    for layer in found.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
            layer.num_batches_tracked = None
    return found


def _frozen(model: nn.Module, inputs: Tensor) -> nn.Module:
    """The network in evaluation mode, with the statistics of the whole set in its batch norms."""
    found = copy.deepcopy(model).train()
    for layer in found.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1.0
    with torch.no_grad():
        found(inputs)
    return found.eval()
