from gainstage.lab.catalogue.normalization.bn_higher_lr import CLAIM
from gainstage.lab.measurements.normalization import bn_higher_lr


def test_the_summary_is_of_its_own_norm():
    rows = bn_higher_lr.measure(CLAIM.smoke, 0)
    runs = [row for row in rows if row["kind"] == "run"]
    assert [row["norm"] for row in rows if row["kind"] == "summary"] == ["none", "batch"]
    assert {(row["norm"], row["lr"]) for row in runs} == {(n, lr) for n in ("none", "batch") for lr in CLAIM.smoke.lrs}


def test_a_target_that_is_not_reached_counts_as_reached_after_the_end():
    runs = [{"norm": "none", "lr": 0.1, "test_accuracy": 0.2, "reached": None}]
    found = bn_higher_lr._summary(CLAIM.smoke, runs, "none")
    assert 10 ** found["log_fewest_steps"] > CLAIM.smoke.steps
    assert found["log_largest_lr"] is None
