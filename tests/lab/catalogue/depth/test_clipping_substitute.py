import math

import pytest

from gainstage.lab.catalogue.depth.clipping_substitute import CLAIM

QUICK = CLAIM.designs["quick"]


def rows(large, plain, small):
    """Accuracies with the norm of 0.9, with clipping of ``large`` and ``small``, plain of ``plain``, ± half a point."""
    figures = {
        (QUICK.large, "batch"): 0.9, (QUICK.large, "clip"): large, (QUICK.large, "none"): plain,
        (QUICK.small, "batch"): 0.9, (QUICK.small, "clip"): small,
    }  # fmt: skip
    return [
        {
            "seed": seed,
            "scale": scale,
            "variant": variant,
            "best_lr": 0.1,
            "best_accuracy": value + (variant == "clip") * 0.005 * (-1) ** seed,
        }
        for seed in range(QUICK.seeds)
        for (scale, variant), value in figures.items()
    ]


@pytest.mark.parametrize(
    ("large", "plain", "small", "outcome"),
    [
        (0.9, 0.1, 0.1, "supported"),
        (0.95, 0.1, 0.1, "supported"),
        (0.6, 0.1, 0.1, "refuted"),  # better than nothing, but not as good
        (0.9, 0.9, 0.1, "refuted"),  # nothing exploded
        (0.9, 0.1, 0.9, "refuted"),  # it helps where gradients vanish too
        (0.85, 0.1, 0.1, "inconclusive"),
        (math.nan, 0.1, 0.1, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(large, plain, small, outcome):
    assert CLAIM.judge(rows(large, plain, small), QUICK).outcome == outcome


@pytest.mark.parametrize(("clipped", "outcome"), [(0.9, "supported"), (0.7, "refuted"), (0.95, "inconclusive")])
def test_the_control_must_show_no_difference(clipped, outcome):
    planted = [{**row, "scale": 1.0} for row in rows(clipped, 0.9, 0.1) if row["scale"] == QUICK.large]
    assert CLAIM.control.judge(planted, QUICK).outcome == outcome


def test_a_choice_at_an_end_of_the_grid_is_told():
    planted = [{**row, "best_lr": QUICK.lrs[0] if row["variant"] == "none" else 0.1} for row in rows(0.9, 0.1, 0.1)]
    assert f"{QUICK.seeds} are the lowest of the grid (0.001) and 0 the highest" in CLAIM.judge(planted, QUICK).why
