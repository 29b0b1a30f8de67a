import pytest

from gainstage.lab.catalogue.normalization import bn_init_sensitivity

CLAIM = bn_init_sensitivity.CLAIM
QUICK = CLAIM.designs["quick"]
SCALES = QUICK.scales


def planted(norm, good, *, seeds=QUICK.seeds, high=0.95):
    """A norm that trains at the first ``good`` scales from a = 1 on at the middle rate, and nowhere at the others."""
    first = SCALES.index(1.0)
    return [
        {
            "seed": seed, "norm": norm, "scale": a, "lr": lr,
            "train_loss": 0.1 if lr == QUICK.lrs[1] else 2.3,
            "test_accuracy": high if lr == QUICK.lrs[1] and first <= place < first + good else 0.1,
        }
        for seed in range(seeds) for place, a in enumerate(SCALES) for lr in QUICK.lrs
    ]  # fmt: skip


def test_the_grid_has_both_ends_and_one():
    assert SCALES[0] == pytest.approx(0.0316, abs=1e-4)
    assert SCALES[-1] == 100
    assert 1.0 in SCALES
    assert len(SCALES) == 8


@pytest.mark.parametrize(
    ("batch", "none", "outcome", "effect"),
    [
        (4, 1, "supported", 1.5),
        (3, 1, "supported", 1.0),
        (1, 1, "refuted", 0.0),
        (1, 4, "refuted", -1.5),
        (2, 1, "inconclusive", 0.5),
    ],
)
def test_the_judge_on_planted_ranges(batch, none, outcome, effect):
    found = CLAIM.judge(planted("batch", batch) + planted("none", none), QUICK)
    assert (found.outcome, found.effect) == (outcome, pytest.approx(effect))


def test_a_range_is_measured_against_its_own_best():
    found = CLAIM.judge(planted("batch", 4, high=0.6) + planted("none", 1), QUICK)
    assert found.effect == pytest.approx(1.5)


def test_an_accuracy_at_the_edge_of_the_margin_counts():
    rows = planted("batch", 1) + planted("none", 1)
    rows = [{**row, "test_accuracy": max(row["test_accuracy"], 0.95 - 0.05)} for row in rows]
    assert CLAIM.judge(rows, QUICK).effect == 0


def test_too_few_seeds_are_inconclusive():
    rows = planted("batch", 4, seeds=4) + planted("none", 1, seeds=4)
    assert CLAIM.judge(rows, QUICK).outcome == "inconclusive"


@pytest.mark.parametrize(("centered", "outcome"), [(1, "supported"), (4, "refuted")])
def test_the_control_can_fail(centered, outcome):
    rows = planted("centered", centered) + planted("none", 1)
    assert CLAIM.control.judge(rows, QUICK).outcome == outcome


def test_the_reason_tells_both_ranges_and_the_one_retuned():
    why = CLAIM.judge(planted("batch", 4) + planted("none", 1), QUICK).why
    assert "decades, batch norm = 2" in why
    assert "chosen anew at each scale the difference = 1.5" in why
    assert "batch norm 0.950, no norm 0.950" in why
