from gainstage.lab.catalogue.normalization.lr_is_the_cause import CLAIM
from gainstage.lab.measurements.normalization import lr_is_the_cause


def test_there_are_copies_at_the_low_rate_alone():
    runs = [row for row in lr_is_the_cause.measure(CLAIM.smoke, 0) if row["kind"] == "run"]
    at = {lr: [row["copy"] for row in runs if row["lr"] == lr and row["norm"] == "none"] for lr in CLAIM.smoke.lrs}
    assert at == {CLAIM.smoke.low: [0, 1], CLAIM.smoke.high: [0]}


def test_the_best_rate_is_chosen_by_the_training_set():
    rows = [
        {"norm": "none", "lr": 0.1, "train_loss": 0.1, "test_accuracy": 0.7},
        {"norm": "none", "lr": 0.2, "train_loss": 0.2, "test_accuracy": 0.8},
    ]
    assert lr_is_the_cause._summary(rows)["best_accuracy"] == 0.7
