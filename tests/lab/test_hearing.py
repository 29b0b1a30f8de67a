"""Confrontations, by one that is planted."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from gainstage.errors import InputError
from gainstage.lab import judge
from gainstage.lab.claim import Design, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.course import Watch
from gainstage.lab.hearing import Hearing
from gainstage.lab.runner import run_experiments
from gainstage.lab.seeds import SeedWork
from gainstage.sweep.backends import Inline


@dataclass(frozen=True)
class PlantedDesign(Design):
    first: float
    second: float


def measure(design, seed):
    noise = float(np.random.default_rng(seed).normal(0, 0.1))
    return [{"first": design.first + noise, "second": design.second - noise}]


def first(rows, design):
    return judge.one_sided(list(judge.per_seed(rows, "first").values()), name="first", seeds=design.seeds, side="above")


def second(rows, design):
    return judge.one_sided(
        list(judge.per_seed(rows, "second").values()), name="second", seeds=design.seeds, side="above"
    )


PLANTED = Confrontation(
    id="planted", title="One or the other?", question="Both say so.",
    sides=(
        Side("one", "It is the first.", "nobody", (), first), Side("other", "It is the second.", "nobody", (), second)
    ),
    scope=Scope("none", "generated", "one point"), caveats=("It is planted.",),
    designs={"quick": PlantedDesign(5, 1.0, -1.0)}, smoke=PlantedDesign(2, 1.0, -1.0), measure=measure,
    reading=lambda found: " and ".join(judgement.outcome for judgement in found), figure=lambda rows: None,
    absent={"full": "It is planted."},
)  # fmt: skip


def heard(confrontation, preset="quick"):
    work = SeedWork(preset, {confrontation.id: confrontation}.__getitem__)
    return run_experiments([confrontation], work, Inline, watch=Watch())[0]


def test_each_side_is_judged_on_the_same_rows():
    found = heard(PLANTED)
    assert found.outcome == "heard"
    assert [side.outcome for side in found.sides] == ["supported", "refuted"]
    assert found.reading == "supported and refuted"
    assert {row["part"] for row in found.rows} == {"nets"}
    assert (len(found.design_hash), found.seeds) == (16, (0, 1, 2, 3, 4))


def test_nothing_heard_of_either_side_is_inconclusive():
    nothing = replace(PLANTED, designs={"quick": PlantedDesign(5, float("nan"), float("nan"))})
    assert heard(nothing).outcome == "inconclusive"
    one = replace(PLANTED, designs={"quick": PlantedDesign(5, float("nan"), 1.0)})
    assert heard(one).outcome == "heard"


def test_json_is_lossless():
    found = heard(PLANTED)
    assert Hearing.from_json(found.to_json()) == found


def test_what_was_not_run_has_no_picture():
    found = heard(PLANTED, preset="full")
    assert found.outcome == "not-run"
    assert "It is planted." in found.why
    with pytest.raises(InputError, match="figure: it must have been run, got 'not-run'"):
        found.figure()


def test_a_failing_measurement_is_no_result():
    def fail(design, seed):
        raise ZeroDivisionError("by zero")

    found = heard(replace(PLANTED, measure=fail))
    assert (found.outcome, found.rows) == ("inconclusive", ())
    assert "ZeroDivisionError" in found.why
