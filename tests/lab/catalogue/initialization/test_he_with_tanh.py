import pytest

from gainstage.lab.catalogue.initialization import he_with_tanh

CLAIM = he_with_tanh.CLAIM
QUICK = CLAIM.designs["quick"]


def planted(gaps, activation="tanh", seeds=QUICK.seeds):
    """Xavier's accuracy by depth minus He's."""
    return [
        {
            "kind": "trained", "seed": seed, "activation": activation, "depth": depth, "rule": rule,
            "accuracy": None if gap is None else 0.8 + 0.002 * seed + gap * (rule == "xavier") * (1 + 0.01 * seed),
        }
        for seed in range(seeds)
        for depth, gap in gaps.items()
        for rule in ("xavier", "he")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shallow", "deep", "outcome"),
    [
        (0.05, 0.05, "supported"),
        (0.05, 0.0, "refuted"),
        (0.0, 0.05, "refuted"),
        # Better, but by less than matters
        (0.005, 0.05, "refuted"),
        (0.0098, 0.05, "inconclusive"),
        (0.05, None, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(shallow, deep, outcome):
    assert CLAIM.judge(planted({8: shallow, 30: deep}), QUICK).outcome == outcome


def test_too_few_seeds():
    assert CLAIM.judge(planted({8: 0.05, 30: 0.05}, seeds=QUICK.seeds - 1), QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("gap", "outcome"), [(-0.5, "supported"), (0.0, "refuted"), (-0.005, "refuted")])
def test_the_control_can_fail(gap, outcome):
    assert CLAIM.control.judge(planted({30: gap}, "relu"), QUICK).outcome == outcome
