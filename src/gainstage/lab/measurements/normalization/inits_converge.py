"""Networks that differ in their initial weights alone, and how often they disagree at one training loss."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.draws import AFFINE
from gainstage.lab.apparatus.fitting import Training, he_started, matched_row, outputs
from gainstage.lab.apparatus.label_noise import mislabeled, named
from gainstage.lab.catalogue.normalization.inits_converge import ConvergeDesign
from gainstage.lab.judge import Row, number
from gainstage.seeding import generator
from gainstage.sweep import Data

NORMS = ("none", "batch")


@dataclass(frozen=True)
class Trained:
    """What a network says where it first reached the training loss.

    Attributes:
        classes: Of the test samples; none if it never got there.
        found: As `matched_row` has it.
    """

    classes: Tensor | None
    found: Row

    @property
    def steps(self) -> int:
        """To the training loss; 0 if it never got there."""
        return int(number(self.found["step"] or 0))


def measure(design: ConvergeDesign, seed: int) -> list[Row]:
    """The design's network."""
    return [_row(design, seed, norm) for norm in NORMS]


def control(design: ConvergeDesign, seed: int) -> list[Row]:
    """Without batch norm, and with its γ and β alone."""
    return [_row(design, seed, norm) for norm in ("none", AFFINE)]


def disagreement(classes: Sequence[Tensor | None], chance: float) -> float:
    """The share of samples on which two disagree, the mean over all pairs.

    Args:
        classes: Of each network; None for one that never reached the training loss.
        chance: What a pair with such a network counts as: the worst outcome.
    """
    return statistics.fmean(
        chance if one is None or other is None else float((one != other).float().mean())
        for one, other in itertools.combinations(classes, 2)
    )


def _row(design: ConvergeDesign, seed: int, norm: str) -> Row:
    device = device_of(design.device)
    data = mislabeled(named(design.data), design.samples, 0.0, seed).to(torch.float32, device)
    rate, nets = _fastest(design, seed, norm, data)
    accuracies = [number(net.found["test_accuracy"]) for net in nets]
    missed = sum(net.classes is None for net in nets)
    reached = [(net.steps, number(net.found["train_loss"])) for net in nets if net.classes is not None]
    steps, losses = zip(*reached, strict=True) if reached else ((), ())
    return {
        "norm": norm, "rate": rate, "missed": missed,
        "disagreement": disagreement([net.classes for net in nets], 1 - 1 / (int(data.test_targets.max()) + 1)),
        "accuracy": statistics.fmean(accuracies), "spread": statistics.stdev(accuracies),
        "train_loss": None if missed else statistics.fmean(losses),
        "steps": None if missed else statistics.fmean(steps),
    }  # fmt: skip


def _fastest(design: ConvergeDesign, seed: int, norm: str, data: Data) -> tuple[float, list[Trained]]:
    """The rate at which most networks get there, of these the one whose slowest is the fastest; and its networks."""
    best, found, limit = math.nan, list[Trained](), design.steps
    for rate in sorted(design.rates, reverse=True):
        # Once all got there at one rate, another needs no more steps than its slowest took.
        training = Training(rate, 0.0, design.batch_size, limit)
        nets = [_trained(design, seed, index, norm, training, data) for index in range(design.nets)]
        if not found or _cost(nets) < _cost(found):
            best, found = rate, nets
        if not _cost(found)[0]:
            limit = min(limit, _cost(found)[1])
    return best, found


def _cost(nets: Sequence[Trained]) -> tuple[int, int]:
    return sum(net.classes is None for net in nets), max(net.steps for net in nets)


def _trained(design: ConvergeDesign, seed: int, index: int, norm: str, training: Training, data: Data) -> Trained:
    weights = generator(seed, "inits-converge", str(index)).initial_seed()
    model = he_started(design.network, {**dict(design.options), "norm": norm}, weights).to(data.train_inputs.device)
    found = matched_row(model, data, training, seed, level=design.level, every=design.every)
    # The training ended where the loss was reached, so the network is still that of the row.
    return Trained(outputs(model, data.test_inputs).argmax(1) if found["reached"] else None, found)
