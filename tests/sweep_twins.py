"""Two ways of computing the same cells, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gainstage.sweep import Row, Spec, execute
from gainstage.sweep.spec import METRICS

NETWORKS = Path(__file__).parent / "sweep" / "engine" / "networks.py"


def named(function: str) -> str:
    return f"{NETWORKS}:{function}"


def spec_of(model: str, data: str = "blobs", **options: Any) -> Spec:
    metrics = METRICS if data != "numbers" else tuple(name for name in METRICS if "accuracy" not in name)
    fields: dict[str, Any] = {"steps": 50, "measure": 7, "metrics": metrics, "dtype": "float64", **options}
    fields["fixed"] = {"batch_size": 16, **fields.get("fixed", {})}
    return Spec(name=model, model=named(model), data=named(data), **fields)


def difference(one: Iterable[Row], other: Iterable[Row]) -> float:
    """The largest between two curves, as a share of the value where that is above 1; inf if they differ in kind."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        assert (a.key, a.values, a.steps, a.diverged_at, a.error) == (b.key, b.values, b.steps, b.diverged_at, b.error)
        assert a.curves.keys() == b.curves.keys()
        for metric, curve in a.curves.items():
            for x, y in zip(curve, b.curves[metric], strict=True):
                if math.isfinite(x) and math.isfinite(y):
                    worst = max(worst, abs(x - y) / max(1.0, abs(y)))
                else:
                    assert repr(x) == repr(y), (metric, x, y)
    return worst


def gap(spec: Spec) -> float:
    """Between the engine and the loop."""
    cells = spec.cells()
    together, alone = execute(spec, cells, mode="vectorised"), execute(spec, cells, mode="looped")
    assert {row.mode for row in together} == {"vectorised"}
    assert {row.mode for row in alone} == {"looped"}
    return difference(together, alone)
