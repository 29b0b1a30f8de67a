"""What every claim owes, at its smoke design."""

import json
from dataclasses import replace

import pytest
import torch
import vl_convert

from gainstage import lab
from gainstage.lab.catalogue import find
from gainstage.lab.runner import run_claim
from gainstage.lab.verdict import Verdict

IDS = [claim.id for claim in lab.claims()]
SECONDS = 15  # a second or two on an idle core


@pytest.mark.parametrize("claim_id", IDS)
def test_it_runs_whole_and_soon(smoke, claim_id):
    verdict = smoke[claim_id]
    assert verdict.outcome in ("supported", "refuted", "inconclusive")
    assert {row["part"] for row in verdict.rows} == {"claim", "control"}
    assert verdict.control is not None
    assert verdict.seconds < SECONDS
    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize("claim_id", IDS)
def test_its_rows_are_flat(smoke, claim_id):
    for row in smoke[claim_id].rows:
        assert json.loads(json.dumps(row)) == row, row
        assert all(value is None or isinstance(value, (int, float, str, bool)) for value in row.values())


@pytest.mark.parametrize("claim_id", IDS)
def test_it_depends_on_its_seed_alone(smoke, claim_id):
    claim = find(claim_id, "test")
    torch.manual_seed(1234)
    torch.rand(7)
    again = run_claim(replace(claim, designs={"quick": replace(claim.smoke, seeds=1)}), seeds=[1])
    assert list(again.rows) == [row for row in smoke[claim_id].rows if row["seed"] == 1]


@pytest.mark.parametrize("claim_id", IDS)
def test_its_figure_is_drawn_offline(smoke, claim_id):
    specification = smoke[claim_id].claim.figure(smoke[claim_id].rows).to_dict()
    assert "<svg" in vl_convert.vegalite_to_svg(specification)


@pytest.mark.parametrize("claim_id", IDS)
@pytest.mark.parametrize("part", ["claim", "control"])
def test_its_judges_do_not_judge_nothing(claim_id, part):
    claim = find(claim_id, "test")
    judge = claim.judge if part == "claim" else claim.control.judge
    found = judge([], next(iter(claim.designs.values())))
    assert found.outcome == "inconclusive"
    assert found.effect is None


@pytest.mark.parametrize("claim_id", IDS)
def test_one_seed_is_too_few_for_an_average(smoke, claim_id):
    claim = find(claim_id, "test")
    rows = [row for row in smoke[claim_id].rows if row["part"] == "claim" and row["seed"] == 0]
    found = claim.judge(rows, next(iter(claim.designs.values())))
    # What is exact is judged problem by problem, and needs no second seed.
    exact = found.interval is not None and found.interval[0] == found.interval[1]
    assert exact or found.outcome == "inconclusive"
