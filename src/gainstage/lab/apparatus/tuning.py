"""The learning rate that a comparison is made at: chosen by what the training set shows, judged by the test set.

Without torch: judges import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from gainstage.lab.judge import Row, Value, per_seed


def best_value(rows: Sequence[Row], over: str, by: str = "train_loss", **where: Value) -> Value:
    """The value of column ``over`` with the lowest mean over seeds of column ``by``; the smallest of several.

    A choice by the mean over seeds is the same for each of them; by the test set it would flatter whatever has
    more values to choose from; the training accuracy is all right at many values, and would leave it to convention.

    Args:
        rows: Of all seeds.
        over: What is chosen (``lr``).
        by: What it is chosen by; a loss; where one seed has none (it diverged) the value comes last.
        where: Which rows count.

    Returns:
        The value; None without rows.
    """
    values = sorted({cast("float", row[over]) for row in rows if _matches(row, where) and over in row})
    return min(values, key=lambda value: _mean(per_seed(rows, by, **{**where, over: value})), default=None)


def at_best(rows: Sequence[Row], key: str, over: str, by: str = "train_loss", **where: Value) -> dict[int, float]:
    """Column ``key`` by seed where ``over`` has its `best_value`."""
    return per_seed(rows, key, **{**where, over: best_value(rows, over, by, **where)})


def differences(first: dict[int, float], second: dict[int, float]) -> list[float]:
    """First minus second, seed by seed; NaN without a partner."""
    return [first.get(seed, math.nan) - second.get(seed, math.nan) for seed in sorted(first.keys() | second.keys())]


def _matches(row: Row, where: dict[str, Value]) -> bool:
    return all(row.get(name) == value for name, value in where.items())


def _mean(figures: dict[int, float]) -> float:
    known = list(figures.values())
    return sum(known) / len(known) if known and all(map(math.isfinite, known)) else math.inf
