import math

import pytest

from gainstage.lab.catalogue.normalization.noise_generalizes import CLAIM, falls, gains

QUICK = CLAIM.designs["quick"]


def planted(accuracies):
    """Accuracies by level; the same for all seeds, but for a small spread."""
    return [
        {
            "seed": seed, "noise": noise, "reached": accuracy != 0.1,
            "test_accuracy": accuracy and accuracy + 0.001 * (seed % 3) * (noise > 0),
        }
        for noise, accuracy in accuracies.items()
        for seed in range(QUICK.seeds)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("accuracies", "outcome"),
    [
        ({0.0: 0.75, 0.5: 0.78, 1.0: 0.76}, "supported"),
        ({0.0: 0.75, 0.5: 0.70, 1.0: 0.69}, "refuted"),
        ({0.0: 0.75, 0.5: 0.75, 1.0: 0.74}, "refuted"),
        ({0.0: 0.75, 0.5: 0.759, 1.0: 0.74}, "inconclusive"),
        ({0.0: 0.75, 0.5: math.nan, 1.0: 0.74}, "inconclusive"),
        ({0.0: 0.75, 0.5: 0.76, 1.0: 0.78}, "inconclusive"),  # best at the end: no optimum was seen
        ({0.0: 0.75, 0.5: 0.78, 1.0: 0.1}, "inconclusive"),  # what does not train is no end
        ({0.0: 0.75, 0.25: 0.78, 0.5: 0.76, 1.0: 0.1}, "supported"),
        ({0.0: None, 0.5: 0.78}, "inconclusive"),
        ({0.0: 0.75}, "inconclusive"),
        ({0.5: 0.75}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(accuracies, outcome):
    assert CLAIM.judge(planted(accuracies), QUICK).outcome == outcome


@pytest.mark.parametrize(("gain", "outcome"), [(0.0, "supported"), (-0.1, "supported"), (0.05, "refuted")])
def test_the_control_must_not_gain(gain, outcome):
    assert CLAIM.control.judge(planted({0.0: 0.75, 0.5: 0.75 + gain}), QUICK).outcome == outcome


def test_the_level_is_chosen_by_the_other_seeds():
    # Each seed has a level of its own on which it is lucky: its best is worth 0.1, the others' best nothing.
    rows = [
        {"seed": seed, "noise": noise, "test_accuracy": 0.6 if noise == seed + 1 else 0.5}
        for seed in range(3)
        for noise in (0.0, 1.0, 2.0, 3.0)
    ]
    assert gains(rows) == pytest.approx([0.0, 0.0, 0.0])


def test_the_end_is_the_largest_level_at_which_all_runs_train():
    rows = planted({0.0: 0.75, 0.25: 0.78, 0.5: 0.76, 1.0: 0.1})
    assert falls(rows) == pytest.approx([0.02] * QUICK.seeds)
    next(row for row in rows if row["noise"] == 0.5)["reached"] = False
    assert all(map(math.isnan, falls(rows)))


def test_a_run_that_is_missing_is_not_judged():
    rows = planted({0.0: 0.75, 0.5: 0.78})
    assert all(map(math.isnan, gains(rows[:-1])))


def test_runs_that_never_reach_the_loss_are_told():
    why = CLAIM.judge(planted({0.0: 0.75, 0.5: 0.78, 2.0: 0.1}), QUICK).why
    assert f"{QUICK.seeds} of {QUICK.seeds} runs never reached" in why
