import math

import pytest

from gainstage.lab.catalogue.how_it_helps import lemma_4_5

# closed_form: Σ(ẑ - y)² = n + Σy² - 2⟨ẑ, y⟩ and the distance of W0 from the ray t·(5, 3).
PRINTED = {
    "A": {"loss": 12, "bn_loss": 173.5656, "left": 72 / 17, "bn_loss_on_ray": 201 - 2 * math.sqrt(194)},
    "B": {"loss": 3, "bn_loss": 20.2405, "left": 8 / 17, "bn_loss_on_ray": 32 - 2 * math.sqrt(38)},
}


def examples(verdict):
    return {row["case"]: row for row in verdict.rows if row["kind"] == "example" and row["part"] == "claim"}


def test_the_verdict_is_the_counterexample(verdicts):
    verdict = verdicts["lemma-4-5"]
    assert (verdict.outcome, verdict.predicted) == ("refuted", "refuted")
    assert verdict.effect == pytest.approx(72 / 17, abs=1e-9)  # closed_form
    assert verdict.interval == (verdict.effect, verdict.effect)
    assert verdict.n == 2


@pytest.mark.parametrize("case", ["A", "B"])
def test_derived_figures_are_the_printed_ones(verdicts, case):
    row = examples(verdicts["lemma-4-5"])[case]
    for name, value in PRINTED[case].items():
        assert row[name] == pytest.approx(value, abs=5e-5), name
    assert row["closed_form_error"] < 1e-12
    assert row["alignment"] == pytest.approx(10)  # the lemma's hypothesis: <W0, W*> > 0


def rows_with(verdict, **changes):
    rows = [row for row in verdict.rows if row["part"] == "claim"]
    return [{**row, **changes} if row["kind"] == "example" else row for row in rows]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "refuted"),
        ({"excess": -1.0}, "supported"),
        ({"closed_form_error": 1e-6}, "inconclusive"),
        ({"closed_form_error": math.nan}, "inconclusive"),
        ({"excess": math.nan}, "inconclusive"),
    ],
)
def test_the_judge_on_planted_rows(verdicts, changes, outcome):
    claim = lemma_4_5.CLAIM
    found = claim.judge(rows_with(verdicts["lemma-4-5"], **changes), claim.designs["quick"])
    assert found.outcome == outcome


def test_the_control_fails_where_the_inequality_does(verdicts):
    claim = lemma_4_5.CLAIM
    rows = [row for row in verdicts["lemma-4-5"].rows if row["part"] == "claim"]
    assert claim.control.judge(rows, claim.designs["quick"]).outcome == "refuted"
