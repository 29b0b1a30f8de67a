import importlib.machinery
import importlib.util
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from gainstage.lab.catalogue.initialization import he_variance
from gainstage.lab.claim import Deferred
from gainstage.lab.fingerprint import _named, _reached, _source, digest, fingerprint


def test_the_fingerprint_covers_each_number():
    claim = he_variance.CLAIM
    design = claim.designs["quick"]
    changed = [replace(design, **{field.name: getattr(design, field.name) + 1}) for field in fields(design)]
    prints = {fingerprint(claim, each) for each in [design, *changed]}
    assert len(prints) == 1 + len(changed)
    assert fingerprint(claim, replace(design)) == fingerprint(claim, design)


def test_the_fingerprint_covers_the_source(tmp_path, monkeypatch):
    design = he_variance.CLAIM.designs["quick"]
    path = tmp_path / "planted_measurement.py"
    monkeypatch.syspath_prepend(tmp_path)
    path.write_text("def measure(design, seed):\n    return []\n")
    claim = replace(he_variance.CLAIM, measure=Deferred("planted_measurement", "measure"))
    before = fingerprint(claim, design)
    path.write_text("def measure(design, seed):\n    return [{}]\n")
    assert fingerprint(claim, design) != before
    assert "planted_measurement" not in sys.modules


def test_the_fingerprint_is_the_same_before_and_after_the_import():
    code = (
        "import sys; from gainstage import lab; from gainstage.lab.fingerprint import fingerprint\n"
        "claim = lab.claims()[0]; design = claim.designs['quick']; before = fingerprint(claim, design)\n"
        "assert 'torch' not in sys.modules\n"
        "import gainstage.lab.measurements.initialization.he_variance\n"
        "print(before == fingerprint(claim, design))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("x = 1", "x = 2", False),
        ("x = 1", "x = 1  # why", True),
        ('def f():\n    "One."\n    return 1', 'def f():\n    "Another."\n    return 1', True),
        ('CLAIM = dict(text="one")', 'CLAIM = dict(text="another")', True),
        ("def draw(rows):\n    return 1", "def draw(rows):\n    return 2", True),
        ("def judge(rows):\n    return 1", "def judge(rows):\n    return 2", False),
    ],
)
def test_the_fingerprint_is_of_code_that_decides(tmp_path, monkeypatch, before, after, same):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "planted_catalogue.py"
    path.write_text(before)
    one = digest({}, {"planted_catalogue"}, leaving_out="draw")
    path.write_text(after)
    assert (digest({}, {"planted_catalogue"}, leaving_out="draw") == one) is same


def test_the_fingerprint_reaches_what_a_measurement_imports():
    reached = _reached({"gainstage.lab.apparatus.training"})
    assert "gainstage.lab.judge" in reached
    assert not any(home.startswith("gainstage.sweep") for home in reached)


def test_the_fingerprint_covers_networks_that_a_design_names():
    numbers = {
        "network": "gainstage.lab.apparatus.networks:mlp",
        "more": [{"data": "gainstage.lab.apparatus.data:digits"}],
    }
    assert set(_named(numbers)) == {"gainstage.lab.apparatus.networks", "gainstage.lab.apparatus.data"}
    assert list(_named({"name": "other:thing", "count": 3})) == []


def test_the_source_is_found_whoever_loads_the_module(tmp_path, monkeypatch):
    # As pytest's own loader, which has no source to give, for packages that bring a plugin.
    class Loader:
        def create_module(self, spec):
            return None

        def exec_module(self, module):
            raise AssertionError("a fingerprint imports nothing")

    (tmp_path / "elsewhere.py").write_text("x = 1")
    spec = importlib.machinery.ModuleSpec("elsewhere", Loader(), origin=str(tmp_path / "elsewhere.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert _source("elsewhere") == "x = 1"
