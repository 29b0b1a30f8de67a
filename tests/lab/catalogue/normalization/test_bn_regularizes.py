import math

import pytest

from gainstage.lab.catalogue.normalization.bn_regularizes import CLAIM

QUICK = CLAIM.designs["quick"]


def planted(gain, group=8, reached=True):
    return [
        {
            "seed": seed, "group": size, "reached": reached or size == 0, "step": 50, "test_loss": 0.7,
            "test_accuracy": 0.77 if size == 0 else gain and 0.77 + gain + 0.001 * (seed % 5 - 2),
        }
        for size in (group, 0)
        for seed in range(QUICK.seeds)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        (0.014, "supported"),
        (0.002, "supported"),
        (-0.02, "refuted"),
        (0.0001, "inconclusive"),
        (math.nan, "inconclusive"),
        (None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(gain, outcome):
    assert CLAIM.judge(planted(gain), QUICK).outcome == outcome


def test_runs_that_never_reach_the_level_count_as_chance_and_are_told():
    found = CLAIM.judge(planted(0.1 - 0.77, reached=False), QUICK)
    assert found.outcome == "refuted"
    assert f"{QUICK.seeds} of {2 * QUICK.seeds} runs never reached the level" in found.why


@pytest.mark.parametrize(("gain", "outcome"), [(0.001, "supported"), (0.05, "refuted"), (-0.05, "refuted")])
def test_the_control_must_stay_within_a_point(gain, outcome):
    assert CLAIM.control.judge(planted(gain, group=QUICK.samples // 2), QUICK).outcome == outcome


def test_groups_divide_the_samples():
    for design in (*CLAIM.designs.values(), CLAIM.smoke):
        assert all(design.samples % size == 0 for size in (*design.groups, 2))
