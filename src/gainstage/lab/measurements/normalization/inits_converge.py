"""Networks that differ in their initial weights alone, and how often they disagree after training."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.lab.apparatus.fitting import Training, accuracy, device_of, fit, he_started, outputs
from gainstage.lab.apparatus.label_noise import mislabeled, named
from gainstage.lab.catalogue.normalization.inits_converge import ConvergeDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator
from gainstage.sweep import Data

LINEAR = f"{__name__}:linear"
NORMS = ("none", "batch")


@dataclass(frozen=True)
class Trained:
    """What a network says after training: classes of the test samples, none if it diverged."""

    classes: Tensor
    train_loss: float
    accuracy: float


def measure(design: ConvergeDesign, seed: int) -> list[Row]:
    """The design's network."""
    return [_row(design, seed, design.network, {**dict(design.options), "norm": norm}) for norm in NORMS]


def control(design: ConvergeDesign, seed: int) -> list[Row]:
    """A linear classifier."""
    data = named(design.data)
    sizes = {"inputs": data.train_inputs[0].numel(), "classes": int(data.train_targets.max()) + 1}
    return [_row(design, seed, LINEAR, {**sizes, "norm": norm}) for norm in NORMS]


def linear(inputs: int, classes: int, norm: str) -> nn.Sequential:
    """A linear classifier of flat inputs, with batch norm on them or not: its loss has one minimum."""
    normed = [nn.BatchNorm1d(inputs)] if norm == "batch" else []
    return nn.Sequential(nn.Flatten(), *normed, nn.Linear(inputs, classes))


def disagreement(classes: Sequence[Tensor]) -> float:
    """The share of samples on which two disagree, the mean over all pairs."""
    pairs = itertools.combinations(classes, 2)
    return statistics.fmean(float((one != other).float().mean()) for one, other in pairs)


def _row(design: ConvergeDesign, seed: int, network: str, options: Mapping[str, int | str]) -> Row:
    """At the learning rate with the lowest mean training loss; a diverged run has an infinite one."""
    device = device_of(design.device)
    data = mislabeled(named(design.data), design.samples, 0.0, seed).to(torch.float32, device)
    by_rate = {
        rate: [_trained(design, seed, index, rate, network, options, data) for index in range(design.nets)]
        for rate in design.rates
    }
    losses = {rate: statistics.fmean(net.train_loss for net in nets) for rate, nets in by_rate.items()}
    best = min(losses, key=lambda rate: losses[rate])
    nets = by_rate[best]
    finite = math.isfinite(losses[best])
    accuracies = [net.accuracy for net in nets]
    return {
        "norm": options["norm"], "rate": best, "train_loss": losses[best] if finite else None,
        # Networks that all diverged tell nothing of the samples, so they agree as often as by chance.
        "disagreement": disagreement([net.classes for net in nets]) if finite else 1 - 1 / _classes(data),
        "accuracy": statistics.fmean(accuracies), "spread": statistics.stdev(accuracies),
    }  # fmt: skip


def _trained(
    design: ConvergeDesign,
    seed: int,
    index: int,
    rate: float,
    network: str,
    options: Mapping[str, int | str],
    data: Data,
) -> Trained:
    weights = generator(seed, "inits-converge", str(index)).initial_seed()
    model = he_started(network, options, weights).to(data.train_inputs.device)
    if not fit(model, data, Training(rate, 0.0, design.batch_size, design.steps), seed):
        return Trained(torch.empty(0), math.inf, 1 / _classes(data))
    loss = float(F.cross_entropy(outputs(model, data.train_inputs), data.train_targets))
    said = outputs(model, data.test_inputs)
    return Trained(said.argmax(1), loss if math.isfinite(loss) else math.inf, accuracy(said, data.test_targets))


def _classes(data: Data) -> int:
    return int(data.test_targets.max()) + 1
