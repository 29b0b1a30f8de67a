import math

import pytest

from gainstage.lab.catalogue.how_it_helps import lp_norms, noisy_bn
from gainstage.lab.catalogue.how_it_helps.along_training import HE_SCALE
from gainstage.lab.catalogue.how_it_helps.norm_trials import at_the_ends, gaps

NOISY, LP = noisy_bn.CLAIM, lp_norms.CLAIM


def planted(metric, design, accuracies, spread=0.002):
    """Rows of two rates: the better one has the accuracies, with seeds a little apart; the other has none."""
    rows = []
    for seed in range(design.seeds):
        for index, (norm, accuracy) in enumerate(accuracies.items()):
            shift = spread * math.sin(3 * seed + index)
            for scale in design.scales:
                same = {"seed": seed, "norm": norm, "scale": scale}
                rows.append({**same, "lr": 0.1, "train_loss": 0.5, metric: accuracy + shift})
                rows.append({**same, "lr": 0.3, "train_loss": None, metric: 0.1, "diverged": True})
    return rows


def test_the_rate_is_chosen_by_the_training_loss_alone():
    rows = [
        {"seed": 0, "norm": norm, "scale": 1.0, "lr": lr, "train_loss": loss, "test_accuracy": accuracy}
        for norm, lr, loss, accuracy in (
            ("l1", 0.1, 0.5, 0.8), ("l1", 0.3, 0.1, 0.7), ("batch", 0.1, None, 0.9), ("batch", 0.3, 2.0, 0.5),
        )
    ]  # fmt: skip
    assert gaps(rows, "test_accuracy", "l1", "batch", 1.0) == pytest.approx([0.2])
    assert at_the_ends(rows, (0.01, 0.1, 0.3)).endswith(
        "for: batch with torch's weights (1 of 1 seeds); l1 with torch's weights (1 of 1 seeds)."
    )
    assert at_the_ends(rows, (0.1, 0.3, 1.0)).endswith("for: no network.")


def test_initial_weights_are_apart():
    rows = [
        {"seed": 0, "norm": norm, "scale": scale, "lr": 0.1, "train_loss": 1.0, "test_accuracy": accuracy}
        for norm, scale, accuracy in (
            ("l1", 1.0, 0.8), ("l1", HE_SCALE, 0.8), ("batch", 1.0, 0.8), ("batch", HE_SCALE, 0.6),
        )
    ]  # fmt: skip
    assert gaps(rows, "test_accuracy", "l1", "batch", 1.0) == pytest.approx([0.0])
    assert gaps(rows, "test_accuracy", "l1", "batch", HE_SCALE) == pytest.approx([0.2])
    assert math.isnan(gaps(rows[:3], "test_accuracy", "l1", "batch", HE_SCALE)[0])


@pytest.mark.parametrize(
    ("noisy", "none", "outcome"),
    [
        (0.99, 0.5, "supported"), (0.97, 0.5, "supported"), (0.9, 0.5, "refuted"), (0.3, 0.5, "refuted"),
        (0.98, 0.98, "inconclusive"), (0.96, 0.5, "inconclusive"), (math.nan, 0.5, "inconclusive"),
    ],
)  # fmt: skip
def test_noisy_bn_on_planted_rows(noisy, none, outcome):
    design = NOISY.designs["quick"]
    rows = planted("train_accuracy", design, {"none": none, "batch": 0.98, "noisy": noisy})
    found = NOISY.judge(rows, design)
    assert found.outcome == outcome
    assert "He's weights (" in found.why


@pytest.mark.parametrize("scale", [1.0, HE_SCALE])
@pytest.mark.parametrize(("norm", "accuracy"), [("none", 1.0), ("batch", 1.2)])
def test_noisy_bn_must_hold_with_either_kind_of_weights(scale, norm, accuracy):
    design = NOISY.designs["quick"]
    good, bad = (
        planted("train_accuracy", design, {"none": 0.5, "batch": 0.98, "noisy": 0.98} | worse)
        for worse in ({}, {norm: accuracy})
    )
    rows = [*(row for row in good if row["scale"] != scale), *(row for row in bad if row["scale"] == scale)]
    found = NOISY.judge(rows, design)
    # It holds in a part of the range only, which is told and not averaged.
    assert found.outcome == "inconclusive"
    assert "2 kinds of initial weights, each judged by itself, do not agree" in found.why


@pytest.mark.parametrize(("loud", "outcome"), [(0.1, "supported"), (0.98, "refuted"), (0.96, "inconclusive")])
def test_loud_noise_must_cost(loud, outcome):
    design = NOISY.designs["quick"]
    rows = planted("train_accuracy", design, {"batch": 0.98, "loud": loud})
    assert NOISY.control.judge(rows, design).outcome == outcome


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize(
    ("accuracy", "outcome"),
    [(0.95, "supported"), (0.99, "supported"), (0.8, "refuted"), (0.93, "inconclusive"), (None, "inconclusive")],
)
def test_each_p_norm_counts(norm, accuracy, outcome):
    design = LP.designs["quick"]
    values = dict.fromkeys(("batch", "l1", "l2", "linf"), 0.95)
    values[norm] = math.nan if accuracy is None else accuracy
    rows = planted("test_accuracy", design, values)
    assert LP.judge(rows, design).outcome == outcome


def test_p_norms_with_he_weights_are_told_and_not_judged():
    design = LP.designs["quick"]
    rows = planted("test_accuracy", design, dict.fromkeys(("batch", "l1", "l2", "linf"), 0.95))
    for row in rows:
        if row["scale"] == HE_SCALE and row["norm"] == "l1":
            row["test_accuracy"] = 0.1
    found = LP.judge(rows, design)
    assert found.outcome == "supported"
    assert "Not judged: with He's weights l1 - batch = -0.8" in found.why


@pytest.mark.parametrize(("none", "outcome"), [(0.1, "supported"), (0.95, "refuted")])
def test_no_norm_must_be_worse(none, outcome):
    design = LP.designs["quick"]
    rows = planted("test_accuracy", design, {"batch": 0.95, "none": none})
    assert LP.control.judge(rows, design).outcome == outcome
