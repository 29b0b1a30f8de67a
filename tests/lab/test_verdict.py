from dataclasses import replace

import pytest
import vl_convert

from gainstage import lab
from gainstage.errors import InputError

IDS = ("he-variance", "scale-invariance", "lemma-4-5")


@pytest.mark.parametrize("claim_id", IDS)
def test_json_is_lossless(verdicts, claim_id):
    verdict = verdicts[claim_id]
    assert lab.Verdict.from_json(verdict.to_json()) == verdict


def test_json_keeps_a_control_that_measured_nothing(verdicts):
    verdict = verdicts["lemma-4-5"]
    verdict = replace(verdict, control=replace(verdict.control, outcome="inconclusive", effect=None, interval=None))
    assert lab.Verdict.from_json(verdict.to_json()) == verdict


def test_a_claim_may_have_no_predicted_direction(verdicts):
    verdict = replace(verdicts["lemma-4-5"], predicted=None)
    assert lab.Verdict.from_json(verdict.to_json()) == verdict
    assert (verdict.as_predicted, verdict.surprises) == (None, False)
    assert verdict.prediction_note == "no direction was predicted"


def test_an_outcome_against_the_prediction_surprises(verdicts):
    verdict = verdicts["lemma-4-5"]
    assert verdict.prediction_note == ""
    against = replace(verdict, predicted="supported")
    assert (against.as_predicted, against.surprises) == (False, True)
    assert against.prediction_note == "supported was predicted"
    assert not replace(against, outcome="inconclusive").surprises


def test_json_of_another_version_is_refused(verdicts):
    text = replace(verdicts["lemma-4-5"], schema_version=0).to_json()
    with pytest.raises(InputError, match="schema_version must be 1, got 0"):
        lab.Verdict.from_json(text)
    with pytest.raises(InputError, match="text must be JSON"):
        lab.Verdict.from_json("no")


@pytest.mark.parametrize("claim_id", IDS)
def test_the_figure_can_be_drawn_offline(verdicts, claim_id):
    svg = vl_convert.vegalite_to_svg(verdicts[claim_id].figure().to_dict())
    assert svg.startswith("<svg")
    assert svg.count("<path") > 10


@pytest.mark.parametrize("claim_id", IDS)
def test_a_stored_verdict_can_still_be_drawn(verdicts, claim_id):
    again = lab.Verdict.from_json(verdicts[claim_id].to_json())
    assert again.figure().to_dict() == verdicts[claim_id].figure().to_dict()


@pytest.mark.parametrize("claim_id", IDS)
def test_quick_is_quick(verdicts, claim_id):
    assert verdicts[claim_id].seconds < 60  # eight on an idle core; the margin is for a busy machine


@pytest.mark.parametrize(
    ("claim_id", "outcome"),
    [("he-variance", "supported"), ("scale-invariance", "supported"), ("lemma-4-5", "refuted")],
)
def test_outcomes(verdicts, claim_id, outcome):
    verdict = verdicts[claim_id]
    assert (verdict.outcome, verdict.control.outcome) == (outcome, "supported")
    assert verdict.as_predicted
