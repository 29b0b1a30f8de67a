"""The verdicts that ship with the package are those of the claims as they are."""

from pathlib import Path

import pytest

from gainstage import lab
from gainstage.lab.fingerprint import fingerprint
from gainstage.lab.published_verdicts import spelled
from gainstage.rules import RULES

PUBLISHED = lab.published()


@pytest.mark.parametrize("claim", lab.claims(), ids=lambda claim: claim.id)
def test_every_claim_has_a_verdict_of_its_own_design(claim):
    verdict = PUBLISHED[claim.id]
    if "quick" not in claim.designs:
        assert verdict.outcome == "not-run"
        return
    design = claim.designs["quick"]
    assert verdict.design_hash == fingerprint(claim, design), "run it again: make lab"
    assert verdict.seeds == tuple(range(design.seeds))
    assert (verdict.statement, verdict.scope) == (claim.statement, claim.scope), "publish again: make lab"


def test_nothing_else_is_published():
    assert list(PUBLISHED) == [claim.id for claim in lab.claims()]
    assert all(verdict.rows == () for verdict in PUBLISHED.values())


def test_the_file_is_what_it_would_be_written_as():
    path = Path(lab.__file__).with_name("published.json")
    assert path.read_text(encoding="utf-8") == spelled(list(PUBLISHED.values()))


def test_the_page_has_every_verdict():
    page = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")
    for claim_id, verdict in PUBLISHED.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{claim_id}` ")]
        assert verdict.outcome.replace("-", " ").upper() in line


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.claims], ids=lambda rule: rule.code)
def test_no_rule_speaks_louder_than_its_claims(rule):
    """A rule that none of its claims supports is for information, unless its thresholds were measured."""
    outcomes = {PUBLISHED[claim_id].outcome for claim_id in rule.claims}
    measured = any("measured" in threshold.source for threshold in rule.thresholds)
    assert "supported" in outcomes or measured or rule.severities == ("info",)
