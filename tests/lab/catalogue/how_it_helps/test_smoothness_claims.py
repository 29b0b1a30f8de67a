import math

import pytest

from gainstage.lab.catalogue.how_it_helps import beta_smoothness, gradient_predictiveness, loss_lipschitz

CLAIMS = {
    "loss_range": loss_lipschitz.CLAIM,
    "predictiveness": gradient_predictiveness.CLAIM,
    "beta": beta_smoothness.CLAIM,
}


def planted(key, decades, design, over="batch", spread=0.1):
    """Rows whose mean log10 ratio is ``decades``, seeds a little apart."""
    rows = []
    for seed in range(design.seeds):
        shift = decades + spread * (seed - (design.seeds - 1) / 2)
        for lr in design.lrs:
            same = {"seed": seed, "lr": lr, "step": 0, "diverged": False, "loss": 1.0}
            rows += [
                {**same, "norm": "none", key: 2.0, f"relative_{key}": 1.0},
                {**same, "norm": over, key: 2.0 * 10**shift, f"relative_{key}": 1.0},
            ]
    return rows


@pytest.mark.parametrize("key", CLAIMS)
@pytest.mark.parametrize(
    ("decades", "outcome"),
    [(-2.0, "supported"), (-0.4, "supported"), (0.4, "refuted"), (0.05, "inconclusive"), (math.nan, "inconclusive")],
)
def test_the_judge_on_planted_rows(key, decades, outcome):
    claim = CLAIMS[key]
    design = claim.designs["quick"]
    found = claim.judge(planted(key, decades, design), design)
    assert found.outcome == outcome
    assert f"Rate 0.03 ({outcome})" in found.why


@pytest.mark.parametrize("key", CLAIMS)
@pytest.mark.parametrize(("most", "one"), [(-2.0, 1.0), (2.0, -1.0)])
def test_one_rate_is_not_outvoted(key, most, one):
    design = CLAIMS[key].designs["quick"]
    usual, odd = (planted(key, decades, design) for decades in (most, one))
    found = CLAIMS[key].judge([*(r for r in usual if r["lr"] != 0.01), *(r for r in odd if r["lr"] == 0.01)], design)
    assert found.outcome == "inconclusive"
    low, high = found.interval
    assert low < min(most, one) < 0 < max(most, one) < high


@pytest.mark.parametrize("key", CLAIMS)
def test_a_missing_rate_is_inconclusive(key):
    design = CLAIMS[key].designs["quick"]
    found = CLAIMS[key].judge([row for row in planted(key, -2.0, design) if row["lr"] != 0.1], design)
    assert (found.outcome, found.effect, found.interval) == ("inconclusive", None, None)


@pytest.mark.parametrize("key", CLAIMS)
def test_an_idle_norm_that_smooths_at_one_rate_fails_the_control(key):
    design = CLAIMS[key].designs["quick"]
    rows = planted(key, 0.0, design, over="frozen", spread=0.01)
    for row in rows:
        if row["norm"] == "frozen" and row["lr"] == 0.1:
            row[key] *= 0.1
    assert CLAIMS[key].control.judge(rows, design).outcome == "inconclusive"


@pytest.mark.parametrize("key", CLAIMS)
@pytest.mark.parametrize(
    ("decades", "outcome"), [(0.0, "supported"), (0.5, "supported"), (-0.5, "refuted"), (-0.1, "inconclusive")]
)
def test_an_idle_norm_must_not_smooth(key, decades, outcome):
    claim = CLAIMS[key]
    design = claim.designs["quick"]
    rows = planted(key, decades, design, over="frozen", spread=0.01)
    assert claim.control.judge(rows, design).outcome == outcome


@pytest.mark.parametrize("key", CLAIMS)
def test_a_plain_network_that_diverges_supports_the_claim(key):
    claim = CLAIMS[key]
    design = claim.designs["quick"]
    rows = planted(key, -0.5, design)
    for row in rows:
        if row["norm"] == "none":
            row.update({key: None, f"relative_{key}": None, "diverged": True})
    found = claim.judge(rows, design)
    assert (found.outcome, found.effect) == ("supported", -3.0)


def test_the_paper_reports_two_decades():
    design = CLAIMS["predictiveness"].designs["quick"]
    assert CLAIMS["predictiveness"].judge(planted("predictiveness", -2, design), design).why.endswith("close to -2.")
