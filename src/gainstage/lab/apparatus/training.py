"""Training runs of a sweep, as flat rows that judges read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from gainstage.lab.judge import Row, Value
from gainstage.sweep import Row as Run
from gainstage.sweep import Spec, execute
from gainstage.sweep.data import loaded


def final_rows(spec: Spec, *, keep: Sequence[str], mode: str = "vectorised") -> list[Row]:
    """Trains every cell in this process, many at once; one flat row each, of what holds after the last update.

    A run that diverged predicts nothing: its accuracies are those of chance, its losses infinite (None in a row). That
    is the worst outcome, fixed beforehand, not a missing figure.

    Args:
        spec: What to train.
        keep: Names of the cell's values that the row has.
        mode: Of `gainstage.sweep.execute`.

    Returns:
        Rows with the kept values, each metric of the specification, ``diverged``.
    """
    chance = _chance(spec)
    return [_flat(run, keep, spec.metrics, chance) for run in trained(spec, mode=mode)]


def trained(spec: Spec, *, mode: str = "vectorised") -> Sequence[Run]:
    """The runs themselves, with their curves.

    Raises:
        RuntimeError: if a cell could not be run; the claim's own code is at fault then.
    """
    runs = execute(spec, spec.cells(), mode=mode)
    failed = next((run for run in runs if run.error), None)
    if failed:
        raise RuntimeError(f"lab run: every cell of {spec.name!r} must run, got {failed.error} at {failed.values}.")
    return runs


def _chance(spec: Spec) -> float:
    targets = loaded(spec).test_targets
    return math.nan if targets.is_floating_point() else 1 / (int(targets.max()) + 1)


def _flat(run: Run, keep: Sequence[str], metrics: Sequence[str], chance: float) -> Row:
    kept: Row = {name: cast("Value", run.values[name]) for name in keep}
    for metric in metrics:
        value = run.curves[metric][-1]
        if run.diverged_at is not None or not math.isfinite(value):
            value = chance if metric.endswith("accuracy") else None
        kept[metric] = value
    kept["diverged"] = run.diverged_at is not None
    return kept
