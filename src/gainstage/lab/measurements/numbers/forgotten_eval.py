"""Answers of a trained network in evaluation and in training mode, for batches of several sizes and orders."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.trained_network import trained_network
from gainstage.lab.catalogue.numbers.forgotten_eval import LARGE, SHUFFLED, SMALL, SORTED, EvalDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator
from gainstage.sweep import Spec
from gainstage.sweep.data import loaded

_PIECE = 512  # samples at once in evaluation mode


def measure(design: EvalDesign, seed: int) -> list[Row]:
    """Batch norm: both modes, and evaluation mode with running statistics that were never updated."""
    spec, network = _trained(design, seed, "batch")
    rows = _rows(spec, network, seed)
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.reset_running_stats()
    data = loaded(spec)
    right = _share(answers(network.eval(), data.test_inputs, _PIECE) == data.test_targets)
    return [*rows, {"kind": "never updated", "mode": "eval", "batch": _PIECE, "order": SHUFFLED, "accuracy": right}]


def control(design: EvalDesign, seed: int) -> list[Row]:
    """Layer norm in both modes."""
    return _rows(*_trained(design, seed, "layer"), seed)


@torch.no_grad()
def answers(network: nn.Module, inputs: Tensor, size: int) -> Tensor:
    """The predicted class of each sample, in the network's mode, in consecutive batches."""
    found = [network(inputs[start : start + size]).argmax(1) for start in range(0, len(inputs), size)]
    return torch.cat(found)


def in_training_mode(network: nn.Module, inputs: Tensor, order: Tensor, size: int) -> Tensor | None:
    """The predicted classes, in the inputs' order, if they are batched in another; None if torch refuses them.

    What is left over after the last whole batch goes into a batch with samples from before: a last batch of one or
    two would be another experiment.
    """
    whole = len(order) // size * size
    batches = [order[start : start + size] for start in range(0, whole, size)]
    batches += [order[-size:]] if whole < len(order) else []
    found = torch.empty(len(inputs), dtype=torch.int64, device=inputs.device)
    used = copy.deepcopy(network).train()  # its running statistics go on moving
    for batch in batches:
        try:
            found[batch] = answers(used, inputs[batch], size)
        except ValueError:  # one value for each channel
            return None
    return found


def _trained(design: EvalDesign, seed: int, norm: str) -> tuple[Spec, nn.Module]:
    options = {"width": design.width, "norm": norm, **({"depth": design.depth} if design.depth else {})}
    spec = Spec(
        name="forgotten-eval", model=design.network, data=design.data, steps=design.steps, measure=(design.steps,),
        fixed={**options, "lr": design.lr, "momentum": 0.9, "batch_size": design.batch_size, "seed": seed},
        metrics=("train_loss",), device=device_of(design.device),
    )  # fmt: skip
    return spec, trained_network(spec, spec.cells()[0])


def _rows(spec: Spec, network: nn.Module, seed: int) -> list[Row]:
    data = loaded(spec)
    inputs, targets = data.test_inputs, data.test_targets
    right = _share(answers(network.eval(), inputs, _PIECE) == targets)
    rows: list[Row] = [{"kind": "used", "mode": "eval", "batch": _PIECE, "order": SHUFFLED, "accuracy": right}]
    for size in (1, 2, SMALL, LARGE):
        for order in (SHUFFLED, SORTED):
            first, second = (_order(targets, seed, order, name) for name in ("first", "second"))
            found, again = (in_training_mode(network, inputs, places, size) for places in (first, second))
            row: Row = {"kind": "used", "mode": "train", "batch": size, "order": order, "refused": found is None}
            row["accuracy"] = None if found is None else _share(found == targets)
            row["changed"] = None if found is None or again is None else _share(found != again)
            rows.append(row)
    return rows


def _order(targets: Tensor, seed: int, order: str, name: str) -> Tensor:
    drawn = torch.randperm(len(targets), generator=generator(seed, "forgotten-eval", name)).to(targets.device)
    return drawn if order == SHUFFLED else drawn[targets[drawn].argsort(stable=True)]


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
