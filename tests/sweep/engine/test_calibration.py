"""Calibration chooses by what it measures; measurements are replaced here by what they are to be."""

from __future__ import annotations

import math
import re

import pytest

from gainstage.sweep import Cell, plan
from gainstage.sweep.engine import calibration
from gainstage.sweep.engine.calibration import grouped, structure
from sweep_twins import spec_of


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Seconds for a cell by the size of its chunk; 0 stands for one by one."""
    table: dict[int, float] = {}
    monkeypatch.setattr(calibration, "_looped_seconds", lambda _spec, _cell: table[0])
    monkeypatch.setattr(calibration, "_together_seconds", lambda _spec, _kind, cells: table[len(cells)])
    return table


def chosen(count: int, most: int = 1000) -> tuple[str, int]:
    spec = spec_of("mlp", axes={"seed": range(count)})
    choice = calibration.chosen(spec, spec.cells(), most)
    return choice.mode, choice.size


def test_the_fastest_size_and_the_smaller_one_on_a_tie(seconds: dict[int, float]) -> None:
    seconds.update({0: 9.0, 4: 5.0, 8: 3.0, 16: 2.0, 32: 1.95, 64: 1.9, 100: 2.2})
    assert chosen(100) == ("vectorised", 16)
    seconds.update({32: 1.5, 64: 1.4})
    assert chosen(100) == ("vectorised", 32)
    assert chosen(100, most=8) == ("vectorised", 8)


def test_chunks_are_shortened_to_a_minute_where_that_costs_little(seconds: dict[int, float]) -> None:
    seconds.update({0: 90.0, 4: 12.0, 8: 7.2, 16: 6.5, 32: 6.0, 64: 5.8, 100: 5.9})
    assert chosen(100) == ("vectorised", 8)  # 58 s, where 16 cells are fastest and take 104 s
    seconds.update({8: 9.0, 16: 6.0})
    assert chosen(100) == ("vectorised", 16)  # 8 cells would be half as slow again
    seconds.update({0: 900.0, 4: 120.0, 8: 110.0, 16: 60.0, 32: 62.0, 64: 61.0, 100: 61.0})
    assert chosen(100) == ("vectorised", 10)  # never longer than ten minutes


def test_no_larger_sizes_are_tried_once_the_cache_is_full(seconds: dict[int, float]) -> None:
    seconds.update({0: 9.0, 4: 5.0, 8: 3.0, 16: 4.0})  # 32 would be a KeyError
    assert chosen(100) == ("vectorised", 8)


def test_one_by_one_where_that_is_faster_or_nothing_is_shared(seconds: dict[int, float]) -> None:
    seconds.update({0: 1.0, 4: 1.2, 8: 1.1, 16: 1.3, 20: 1.2})
    assert chosen(20) == ("looped", 1)
    assert chosen(1) == ("looped", 1)


def test_little_work_is_not_measured_for_long(seconds: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def slowly(_spec: object, _kind: object, cells: tuple[Cell, ...]) -> float:
        tried.append(len(cells))
        return seconds[len(cells)]

    clock = iter(range(100))
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(calibration, "_together_seconds", slowly)
    seconds.update({0: 1.0, 4: 0.5, 8: 0.4, 16: 0.3})
    # Each trial takes a second by this clock: of 20 seconds of work two may be spent, and three trials take more.
    assert chosen(20) == ("vectorised", 4)
    assert tried == [4]
    # Of 200 seconds ten may be spent, but two where four at once are no faster than one by one.
    tried.clear()
    assert chosen(200, most=16) == ("vectorised", 16)
    assert tried == [4, 8, 16]
    tried.clear()
    seconds.update({4: 1.1})
    assert chosen(200, most=16) == ("looped", 1)
    assert tried == [4]


def test_structures_are_what_chunks_share() -> None:
    base = {"width": 8, "lr": 0.1, "seed": 0, "batch_size": 16}
    same = ({"lr": 0.2}, {"seed": 1}, {"scale": 2.0}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"clip": 1.0},
            {"init": "he_normal"}, {"data_seed": 3})  # fmt: skip
    other = ({"width": 9}, {"batch_size": 8}, {"optimizer": "adam"}, {"nesterov": True}, {"schedule": "cosine"},
             {"warmup": 3})  # fmt: skip
    assert {structure(Cell.of({**base, **change})) for change in same} == {structure(Cell.of(base))}
    assert len({structure(Cell.of({**base, **change})) for change in other}) == len(other)
    cells = [Cell.of({**base, "width": width, "seed": seed}) for seed in (1, 0) for width in (8, 9)]
    assert [[tuple(cell.values[name] for name in ("width", "seed")) for cell in group] for group in grouped(cells)] == [
        [(8, 0), (8, 1)], [(9, 0), (9, 1)],
    ]  # fmt: skip


def test_a_plan_tells_its_figures() -> None:
    spec = spec_of("mlp", axes={"width": (8, 12), "seed": range(8)}, steps=20)
    found = plan(spec, spec.cells(), workers=1)
    assert math.isfinite(found.seconds)
    assert str(found).startswith("16 cells in ")
    figures = r"stacked [\d.e+-]+ m?s a cell in chunks of \d+, one by one [\d.e+-]+ m?s"
    assert all(re.fullmatch(figures, chunk.why) for chunk in found.chunks)
    assert all(chunk.why in str(found) for chunk in found.chunks)
