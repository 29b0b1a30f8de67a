"""Maps from rows: axes, variants, seeds and what diverged."""

from __future__ import annotations

import math

import pytest

import gainstage as gs
from gainstage.sweep import Row, map_of_rows


def row(final: float, diverged_at: int | None = None, **values: object) -> Row:
    return Row(repr(values), values, (0, 20), {"test_loss": (9.0, 9.0), "train_loss": (2.0, final)}, diverged_at)


def test_seeds_are_one_field_and_other_axes_are_variants() -> None:
    rows = [
        row(final, lr=lr, scale=1.0, norm=norm, seed=seed, width=8)
        for norm, ends in (("none", (1.9, 1.0)), ("batch", (0.2, 0.1)))
        for lr, final in zip((0.1, 1.0), ends, strict=True)
        for seed in range(3)
    ]
    rows[0] = row(math.nan, 7, lr=0.1, scale=1.0, norm="none", seed=0, width=8)
    found = map_of_rows(rows, name="grid")
    assert found.norms == ("norm none", "norm batch")
    assert [cell.final for cell in found.cells] == [1.9, 1.0, 0.2, 0.1]
    assert [cell.trains for cell in found.cells] == [False, True, True, True]
    assert all(cell.diverged_at is None for cell in found.cells)
    assert (found.start, found.best, found.steps, found.resolution) == (2.0, 0.1, 20, 1.0)


def test_a_field_diverged_if_most_of_its_seeds_did() -> None:
    rows = [row(math.nan, 7, lr=1.0, seed=0), row(math.nan, 5, lr=1.0, seed=1), row(1.0, lr=1.0, seed=2),
            row(0.5, lr=0.1, seed=0)]  # fmt: skip
    (lost, _) = map_of_rows(rows).cells
    assert (lost.diverged_at, lost.final, lost.trains) == (5, None, False)
    assert map_of_rows(rows).norms == ("all",)


def test_rows_without_a_rate_or_a_loss_are_refused() -> None:
    with pytest.raises(gs.GainstageError, match="map: the sweep must vary lr and measure one of train_loss"):
        map_of_rows([row(1.0, scale=1.0)])
    with pytest.raises(gs.GainstageError, match="map: the sweep must vary lr"):
        map_of_rows([Row("a", {"lr": 1.0}, error="it failed")])
