import subprocess
import sys
from dataclasses import fields, replace

import pytest

from gainstage import lab
from gainstage.lab import claim as claims
from gainstage.lab.catalogue import he_variance

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


def test_the_fingerprint_covers_each_number():
    claim = he_variance.CLAIM
    design = claim.designs["quick"]
    changed = [replace(design, **{field.name: getattr(design, field.name) + 1}) for field in fields(design)]
    prints = {claims.fingerprint(claim, each) for each in [design, *changed]}
    assert len(prints) == 1 + len(changed)
    assert claims.fingerprint(claim, replace(design)) == claims.fingerprint(claim, design)


def test_the_fingerprint_covers_the_source(tmp_path, monkeypatch):
    design = he_variance.CLAIM.designs["quick"]
    path = tmp_path / "planted_measurement.py"
    monkeypatch.syspath_prepend(tmp_path)
    path.write_text("def measure(design, seed):\n    return []\n")
    claim = replace(he_variance.CLAIM, measure=claims.Deferred("planted_measurement", "measure"))
    before = claims.fingerprint(claim, design)
    path.write_text("def measure(design, seed):\n    return [{}]\n")
    assert claims.fingerprint(claim, design) != before
    assert "planted_measurement" not in sys.modules


def test_the_fingerprint_is_the_same_before_and_after_the_import():
    code = (
        "import sys; from gainstage import lab; from gainstage.lab.claim import fingerprint\n"
        "claim = lab.claims()[0]; design = claim.designs['quick']; before = fingerprint(claim, design)\n"
        "assert 'torch' not in sys.modules\n"
        "import gainstage.lab.measurements.he_variance\n"
        "print(before == fingerprint(claim, design))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"
