import subprocess
import sys
from dataclasses import fields

import pytest

from gainstage import lab
from gainstage.lab import claim as claims

ALL = pytest.mark.parametrize("claim", lab.claims(), ids=lambda claim: claim.id)


def test_listing_needs_neither_torch_nor_altair():
    code = (
        "import sys, gainstage as gs; gs.lab.claims(); "
        "print([name for name in ('torch', 'altair', 'vl_convert', 'pandas') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_ids_are_unique():
    ids = [claim.id for claim in lab.claims()]
    assert len(set(ids)) == len(ids)


@ALL
def test_a_claim_is_complete(claim):
    for name in ("statement", "source", "prediction"):
        text = getattr(claim, name)
        assert len(text) > 10, name
        assert not any(tag in text for tag in ("[V]", "[S]", "[M]", "\n")), name
    assert all(getattr(claim.scope, field.name) for field in fields(claim.scope))
    assert claim.caveats
    assert claim.control.statement.endswith(".")
    missing = set(claims.PRESETS) - set(claim.designs)
    assert missing == set(claim.absent or {})


@ALL
@pytest.mark.parametrize(("preset", "least"), [("quick", 5), ("full", 10)])
def test_a_design_asks_for_enough_seeds(claim, preset, least):
    if preset in claim.designs:
        assert claim.designs[preset].seeds >= least
