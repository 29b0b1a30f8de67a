"""What every confrontation owes, at its smoke design."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
import vl_convert

from gainstage import lab
from gainstage.lab.catalogue.confrontations import find
from gainstage.lab.course import Watch
from gainstage.lab.fingerprint import fingerprint
from gainstage.lab.hearing import Hearing
from gainstage.lab.runner import run_experiments
from gainstage.lab.seeds import SeedWork
from gainstage.sweep.backends import Inline

IDS = [entry.id for entry in lab.confrontations()]
CLAIMS = {claim.id for claim in lab.claims()}


@cache
def heard(name, seeds=(0, 1)):
    entry = find(name, "test")
    small = replace(entry, designs={"quick": entry.smoke})
    work = SeedWork("quick", {name: small}.__getitem__)
    return run_experiments([small], work, Inline, seeds=seeds, watch=Watch())[0]


@pytest.mark.parametrize("name", IDS)
def test_it_runs_whole(name):
    found = heard(name)
    assert len(found.sides) >= 2
    assert found.reading
    assert Hearing.from_json(found.to_json()) == found
    for row in found.rows:
        assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("name", IDS)
def test_it_depends_on_its_seed_alone(name):
    torch.manual_seed(99)
    assert list(heard(name, (1,)).rows) == [row for row in heard(name).rows if row["seed"] == 1]


@pytest.mark.parametrize("name", IDS)
def test_its_figure_is_drawn_offline(name):
    assert "<svg" in vl_convert.vegalite_to_svg(heard(name).figure().to_dict())


@pytest.mark.parametrize("name", IDS)
def test_its_sides_judge_nothing_without_rows(name):
    entry = find(name, "test")
    for side in entry.sides:
        assert side.judge([], entry.designs["quick"]).outcome == "inconclusive"


@pytest.mark.parametrize("name", IDS)
def test_it_is_complete(name):
    entry = find(name, "test")
    assert {"quick", "full"} == set(entry.designs) | set(entry.absent or {})
    assert entry.designs["quick"].seeds >= 5
    assert entry.caveats
    assert len({fingerprint(entry, design) for design in entry.designs.values()}) == len(entry.designs)


@pytest.mark.parametrize("name", IDS)
def test_its_sides_point_to_claims_that_there_are(name):
    named = {claim for side in find(name, "test").sides for claim in side.claims}
    assert named <= CLAIMS


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("outcome", ["supported", "refuted", "inconclusive"])
def test_its_reading_follows_from_the_judgements(name, outcome):
    entry = find(name, "test")
    judgement = replace(entry.sides[0].judge([], entry.designs["quick"]), outcome=outcome)
    assert entry.reading([judgement] * len(entry.sides)).endswith(".")
