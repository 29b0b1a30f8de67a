import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from gainstage import lab
from gainstage.errors import InputError, UnknownNameError
from gainstage.lab import judge, runner
from gainstage.lab.claim import Claim, Control, Design, Scope
from gainstage.lab.seeds import measured


@dataclass(frozen=True)
class PlantedDesign(Design):
    effect: float
    control_effect: float = 0.0


CALLS: list[int] = []


def measure(design, seed):
    CALLS.append(seed)
    return [{"gap": design.effect + float(np.random.default_rng(seed).normal(0, 0.1))}]


def control(design, seed):
    return [{"gap": design.control_effect + float(np.random.default_rng(seed + 1000).normal(0, 0.1))}]


def judge_gap(rows, design):
    gaps = list(judge.per_seed(rows, "gap").values())
    return judge.one_sided(gaps, name="gap", seeds=design.seeds, side="above")


def judge_control(rows, design):
    gaps = list(judge.per_seed(rows, "gap").values())
    return judge.equality(gaps, name="gap", seeds=design.seeds, target=0.0, tolerance=0.3)


def no_figure(rows):
    raise NotImplementedError


PLANTED = Claim(
    id="planted",
    group="numbers",
    statement="There is a gap.",
    source="nobody",
    prediction="gap > 0",
    scope=Scope("none", "generated", "one point"),
    designs={"quick": PlantedDesign(seeds=6, effect=1.0)},
    smoke=PlantedDesign(seeds=2, effect=1.0),
    measure=measure,
    judge=judge_gap,
    control=Control("Without it the gap must vanish.", control, judge_control),
    figure=no_figure,
    absent={"full": "It is small."},
)


def with_effects(effect, control_effect=0.0):
    return replace(PLANTED, designs={"quick": PlantedDesign(6, effect, control_effect)})


@pytest.mark.parametrize(
    ("effect", "control_effect", "outcome"),
    [
        (1.0, 0.0, "supported"),
        (-1.0, 0.0, "refuted"),
        (0.01, 0.0, "inconclusive"),
        (1.0, 1.0, "inconclusive"),
        (-1.0, 1.0, "inconclusive"),
        (math.nan, 0.0, "inconclusive"),
        (1.0, math.nan, "inconclusive"),
    ],
)
def test_planted_truths_are_found(effect, control_effect, outcome):
    verdict = runner.run_claim(with_effects(effect, control_effect))
    assert verdict.outcome == outcome
    assert ("The control " in verdict.why) == (verdict.control.outcome != "supported")
    assert (verdict.control.outcome == "supported") == (control_effect == 0.0)


def test_every_seed_is_run_whatever_comes_out():
    CALLS.clear()
    verdict = runner.run_claim(with_effects(math.nan))
    assert CALLS == [0, 1, 2, 3, 4, 5]
    assert [row["seed"] for row in verdict.rows if row["part"] == "claim"] == CALLS


def test_a_verdict_says_how_it_came_about():
    verdict = runner.run_claim(PLANTED, seeds=[7, 3, 5, 11, 2, 4])
    assert verdict.seeds == (7, 3, 5, 11, 2, 4)
    assert (verdict.n, verdict.preset, verdict.scope) == (6, "quick", PLANTED.scope)
    assert set(verdict.versions) == {"gainstage", "python", "torch", "numpy"}
    assert len(verdict.design_hash) == 16
    assert verdict.as_predicted
    assert verdict.interval[0] < verdict.effect < verdict.interval[1]


def test_fewer_seeds_than_designed_are_inconclusive():
    verdict = runner.run_claim(PLANTED, seeds=5)
    assert verdict.outcome == "inconclusive"
    assert "the design asks for 6, there are 5" in verdict.why


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1]])
def test_seeds_must_be_different(seeds):
    with pytest.raises(InputError, match="seeds must be a positive number or different seeds"):
        lab.run("lemma-4-5", seeds=seeds)


def test_a_missing_preset_is_not_run():
    verdict = runner.run_claim(PLANTED, preset="full")
    assert (verdict.outcome, verdict.rows, verdict.n, verdict.effect) == ("not-run", (), 0, None)
    assert verdict.why == "There is no preset 'full' for it; it has quick. It is small."
    with pytest.raises(InputError, match="figure: the claim must have been run, got 'not-run'"):
        verdict.figure()
    assert lab.Verdict.from_json(verdict.to_json()) == verdict


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match=r"got 'he-varience'\. Did you mean 'he-variance'\?"):
        lab.run("he-varience")
    with pytest.raises(UnknownNameError, match=r"preset must be a known one, got 'quik'\. Did you mean 'quick'\?"):
        lab.run("he-variance", preset="quik")


def test_an_equal_run_is_answered_from_the_store(tmp_path):
    CALLS.clear()
    first = runner.run_claim(PLANTED, store=tmp_path)
    again = runner.run_claim(PLANTED, store=tmp_path)
    assert again == first
    assert len(CALLS) == 6
    more = runner.run_claim(PLANTED, seeds=8, store=tmp_path)
    assert CALLS[6:] == [6, 7]
    assert more.rows[: len(first.rows)] == first.rows


def test_another_design_shares_nothing_with_it(tmp_path):
    first = runner.run_claim(PLANTED, store=tmp_path)
    CALLS.clear()
    other = runner.run_claim(with_effects(2.0), store=tmp_path)
    assert len(CALLS) == 6
    assert other.design_hash != first.design_hash


def test_figures_that_are_not_finite_survive_the_store(tmp_path):
    for _ in range(2):
        verdict = runner.run_claim(with_effects(math.nan), store=tmp_path)
        assert all(math.isnan(row["gap"]) for row in verdict.rows if row["part"] == "claim")


def test_progress_is_told_after_each_seed(tmp_path):
    told = []
    for _ in range(2):
        runner.run_claim(PLANTED, store=tmp_path, on_progress=lambda done, total: told.append((done, total)))
    # At the start, then after each seed; the second time all are stored.
    assert told == [*((done, 6) for done in range(7)), (6, 6)]


def global_state():
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("claim", lab.claims(), ids=lambda claim: claim.id)
def test_measuring_touches_nothing_global_and_repeats_exactly(claim):
    before = global_state()
    rows = measured(claim, claim.smoke, 3).rows
    assert global_state() == before
    torch.manual_seed(123)
    assert measured(claim, claim.smoke, 3).rows == rows


def test_a_run_restores_generators_that_a_claim_used():
    def careless(design, seed):
        torch.rand(1), random.random(), np.random.rand()
        return measure(design, seed)

    before = global_state()
    runner.run_claim(replace(PLANTED, measure=careless))
    assert global_state() == before
