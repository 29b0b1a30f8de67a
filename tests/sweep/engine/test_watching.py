"""The stop rule and the curves, by themselves."""

from __future__ import annotations

import math

import pytest
import torch

from gainstage.sweep.engine.watching import Watch, failed
from sweep_twins import spec_of


def watch(count: int, **stop: float) -> Watch:
    spec = spec_of("mlp", axes={"seed": range(count)}, steps=4, measure=2, metrics=("batch_loss",), stop=stop)
    return Watch(spec, spec.cells())


@pytest.mark.parametrize(
    ("stop", "first", "later", "expected"),
    [
        ({}, [1.0, 1.0, 1.0, 1.0], [1e300, math.inf, math.nan, -1e300], [True, False, False, True]),
        ({"factor": 10.0}, [1.0, 0.5, 2.0, -1.0], [10.0, 5.1, 19.0, 10.1], [True, False, True, False]),
        ({"factor": 10.0, "above": 4.0}, [1.0, 0.1, 1.0, 1.0], [4.0, 1.1, 4.1, 3.9], [True, False, False, True]),
        ({"above": 3.0}, [0.0, 1.0, 1.0, 1.0], [2.0, 3.0, 3.1, -9.0], [True, True, False, True]),
    ],
)
def test_the_rule(stop: dict[str, float], first: list[float], later: list[float], expected: list[bool]) -> None:
    seen = watch(4, **stop)
    assert seen.sound(torch.tensor(first, dtype=torch.float64)).all()
    assert seen.sound(torch.tensor(later, dtype=torch.float64)).tolist() == expected
    seen.keep([3, 1])
    assert seen.sound(torch.tensor([later[3], later[1]], dtype=torch.float64)).tolist() == [expected[3], expected[1]]


def test_the_first_loss_can_be_lost_already() -> None:
    seen = watch(3, above=5.0)
    assert seen.sound(torch.tensor([math.nan, 6.0, math.inf])).tolist() == [False, False, False]


def test_curves_hold_what_was_noted_until_the_run_diverged() -> None:
    seen = watch(2)
    for step in (0, 2, 4):
        assert seen.measures(step)
        seen.note(step, "batch_loss", [0, 1], torch.tensor([step + 0.5, step + 0.25]))
        seen.note(step, "train_loss", [0, 1], torch.zeros(2))
    assert not seen.measures(3)
    seen.diverge(1, 2)
    one, other = seen.rows("looped")
    assert one.curves == {"batch_loss": (0.5, 2.5, 4.5)}
    assert other.curves["batch_loss"][:2] == (0.25, 2.25)
    assert math.isnan(other.curves["batch_loss"][2])
    assert (one.diverged_at, other.diverged_at, one.mode) == (None, 2, "looped")


def test_an_error_is_one_line() -> None:
    (cell,) = spec_of("mlp").cells()
    assert failed(cell, ValueError("first\nsecond"), "looped").error == "ValueError: first"
    assert failed(cell, ValueError(), "looped").error == "ValueError: "
    assert len(failed(cell, ValueError("x" * 900), "looped").error or "") == 500
