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
            same = {"seed": seed, "lr": lr, "step": 0, "diverged": False}
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
    assert "at rate 0.03: log10 ratio" in found.why


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
