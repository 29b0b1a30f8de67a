"""What trains, how wide it is, which learning rate: pure functions of runs with known answers."""

from __future__ import annotations

import pytest

from gainstage.sweep.trainability.judging import judged, region
from gainstage.sweep.trainability.lattice import Axis
from gainstage.sweep.trainability.records import MapCell, TrainabilityMap

SCALES, RATES = Axis((0.1, 1.0, 10.0)), Axis(tuple(10.0 ** (k / 4) for k in range(-12, 1)))


def cell(scale: float, lr: float, final: float | None, diverged_at: int | None = None) -> MapCell:
    return MapCell("as-is", scale, lr, 2.0, final, diverged_at)


def whole(finals: dict[float, list[float | None]]) -> dict[tuple[int, int], MapCell]:
    runs = {
        (SCALES.nearest(scale), column): cell(scale, RATES.values[column], value, 3 if value is None else None)
        for scale, values in finals.items()
        for column, value in enumerate(values)
    }
    return dict(zip(runs, judged(list(runs.values()))[0], strict=True))


def test_progress_is_measured_from_the_lowest_start_to_the_best_end() -> None:
    cells, start, best = judged([
        MapCell("a", 1, 0.1, 2.0, 1.0), MapCell("a", 1, 0.2, 3.0, 1.5), MapCell("b", 1, 0.1, 2.5, 1.6),
        MapCell("b", 1, 9.0, 2.0, None, 4), MapCell("b", 1, 8.0, None, None, 0), MapCell("b", 2, 0.1, 2.0, 2.4),
    ])  # fmt: skip
    assert (start, best) == (2.0, 1.0)
    assert [entry.progress for entry in cells] == pytest.approx([1.0, 0.5, 0.4, -1.0, -1.0, -0.4])
    assert [entry.trains for entry in cells] == [True, True, False, False, False, False]


def test_where_the_best_run_made_no_progress_nothing_trains() -> None:
    cells, start, best = judged([cell(1, 0.1, 1.95), cell(1, 0.2, 2.0)])
    assert (start, best) == (2.0, 1.95)
    assert not any(entry.trains for entry in cells)
    assert judged([MapCell("a", 1, 1, None, None, 0)])[1:] == (None, None)


def test_the_recommended_rate_is_the_best_with_a_margin_to_the_edge() -> None:
    # At scale 1: columns 4 to 10 train, the best is the last of them, two columns from the edge are a factor 3.2.
    own = [2.0] * 4 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3] + [None, None]
    found = region("as-is", whole({0.1: [2.0] * 13, 1.0: own, 10.0: [0.9] * 13}), SCALES, RATES)
    assert found.recommended_lr == pytest.approx(RATES.values[8])
    assert found.margin == pytest.approx(10**0.5)
    assert (found.lr_low, found.lr_high) == (RATES.values[4], RATES.values[10])
    assert found.lr_decades == pytest.approx(1.5)
    assert (found.scale_low, found.scale_high, found.scale_decades) == (1.0, 10.0, pytest.approx(1.0))
    assert found.best == (1.0, pytest.approx(RATES.values[10]), 0.3)
    assert not found.to_edge
    # Seven columns at scale 1 (a decade of scales), thirteen at 10 (half a decade), of which two half ones.
    assert found.area == pytest.approx(1.0 * 7 * 0.25 + 0.5 * 3.0)


def test_a_gap_ends_the_range_and_the_end_of_the_map_is_said() -> None:
    own = [0.5, 0.4, 0.4, 2.0, 2.0, 0.9, 2.0] + [2.0] * 6
    found = region("as-is", whole({0.1: [2.0] * 13, 1.0: own, 10.0: [2.0] * 13}), SCALES, RATES)
    assert (found.lr_low, found.lr_high) == (RATES.values[0], RATES.values[2])
    assert found.to_edge
    # Too narrow for the margin and the best: the only one a factor 3.2 below the edge.
    assert found.recommended_lr == RATES.values[0]


def test_a_single_rate_is_recommended_without_a_margin() -> None:
    own: list[float | None] = [2.0] * 13
    own[6] = 0.5
    found = region("as-is", whole({0.1: [2.0] * 13, 1.0: own, 10.0: [2.0] * 13}), SCALES, RATES)
    assert (found.recommended_lr, found.margin, found.lr_decades) == (RATES.values[6], 1.0, 0.0)


def test_what_trains_at_other_scales_only_has_a_best_and_no_recommendation() -> None:
    found = region("as-is", whole({0.1: [2.0] * 13, 1.0: [2.0] * 13, 10.0: [0.5] * 13}), SCALES, RATES)
    assert found.best is not None
    assert found.best[0] == 10.0
    assert found.recommended_lr is None
    assert region("x", whole({0.1: [2.0] * 13, 1.0: [2.0] * 13, 10.0: [2.0] * 13}), SCALES, RATES).best is None


def test_points_that_were_not_run_have_the_nearest_run() -> None:
    cells = (cell(0.1, RATES.values[0], 1.0), cell(10.0, RATES.values[12], 2.0))
    found = TrainabilityMap("m", "SGD", 10, SCALES, RATES, cells, (region("as-is", {}, SCALES, RATES),))
    filled = found.filled("as-is")
    assert len(filled) == 3 * 13
    assert filled[0, 1] is cells[0]
    assert filled[2, 11] is cells[1]
    assert found.filled("batch") == {}
    assert TrainabilityMap.from_json(found.to_json()) == found
    assert found.to_rows()[1]["scale"] == 10.0
