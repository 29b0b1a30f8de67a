"""Training runs over learning rates, and what they say about a network: which rates it bears, how far it gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.training import trained
from gainstage.lab.catalogue.designs import USABLE, RateDesign
from gainstage.lab.judge import Row, Value, number
from gainstage.sweep import Row as Run
from gainstage.sweep import Spec

DRAWN = "gainstage.lab.apparatus.draws:drawn"
# Beyond all seeds of a claim.
_COPY = 1_000_000
FINAL = ("train_loss", "train_accuracy", "test_accuracy")


def grid(
    seed: int, points: Sequence[Mapping[str, Value]], lrs: Sequence[float], *, copies: int = 1
) -> list[dict[str, Value]]:
    """Each point at each learning rate, in some copies.

    Args:
        seed: Of the weights and of the order of samples.
        points: Values that go together, such as ``{"norm": "batch"}``.
        lrs: Learning rates.
        copies: Trainings of each kind, from weights of their own, on the same batches; the first is the seed's.
    """
    seeds = [seed + _COPY * copy for copy in range(copies)]
    return [{**point, "lr": lr, "seed": own, "data_seed": seed} for point in points for lr in lrs for own in seeds]


def rate_runs(
    design: RateDesign,
    points: Sequence[Mapping[str, Value]],
    *,
    every: int | None = None,
    metrics: Sequence[str] = FINAL,
    **fixed: Any,
) -> tuple[Run, ...]:
    """Trains a network for each point, many at once; those of one `grid` see the same batches.

    Args:
        design: What is trained.
        points: Of `grid`.
        every: Updates between two measurements; None: only after the last one.
        metrics: Of `gainstage.sweep.Spec`.
        fixed: Values of all runs.
    """
    spec = Spec(
        name="rates", model=DRAWN, data=design.data, points=points,
        fixed={
            "network": design.net.factory, "draws": design.init, "batch_size": design.batch,
            **dict(design.net.options), **fixed,
        },
        steps=design.steps, measure=every or (design.steps,), metrics=metrics, device=device_of(design.device),
    )  # fmt: skip
    return tuple(trained(spec))


def flat(run: Run, keep: Sequence[str], *, chance: float = 0.1) -> Row:
    """A run as a row: the kept values, its metrics after the last update, whether it diverged.

    A run that diverged predicts nothing: its accuracies are those of chance, its losses infinite (None in a row).
    """
    row: Row = {"kind": "run", **{name: cast("Value", run.values[name]) for name in keep}}
    for metric, curve in run.curves.items():
        worst = chance if metric.endswith("accuracy") else None
        row[metric] = curve[-1] if run.diverged_at is None and math.isfinite(curve[-1]) else worst
    return {**row, "diverged": run.diverged_at is not None}


def copy_of(run: Run, seed: int) -> int:
    """Which of the copies of a seed a run is, from 0."""
    return (int(run.values["seed"]) - seed) // _COPY


def steps_to(run: Run, target: float) -> int | None:
    """Updates until the test accuracy was first measured to be at least ``target``; None if never, or it diverged."""
    curve = zip(run.steps, run.curves["test_accuracy"], strict=True)
    return next((step for step, value in curve if value >= target), None) if run.diverged_at is None else None


def largest_usable(rows: Sequence[Row]) -> Value:
    """The largest learning rate with a test accuracy of at least `USABLE` at the end; None if there is none."""
    return max((number(row["lr"]) for row in rows if number(row["test_accuracy"]) >= USABLE), default=None)


def best_run(rows: Sequence[Row]) -> Row:
    """The row of the learning rate with the lowest training loss after the last update; of several the smallest rate.

    The test set chooses nothing, or it would flatter whatever has more rates to choose from. Nor does the training
    accuracy: it is all right at many rates, and the choice among those would be one of convention. A run that diverged
    has no loss and comes last.
    """
    return min(rows, key=lambda row: (_or_worst(row["train_loss"]), number(row["lr"])))


def _or_worst(loss: Value) -> float:
    value = number(loss)
    return value if math.isfinite(value) else math.inf
