"""The examples run, and show what they say."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gainstage as gs
from gainstage.numerics import paired_interval

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = {"stuck_at_chance": ("INI002", "ACT004", "improved: True"),
           "forgotten_train_mode": ("NRM001", "after the fix: no problem found")}  # fmt: skip
# Each pitfall: where it is checked, the finding that catches it, what the cures are worth in accuracy at the least.
PITFALLS: dict[str, tuple[str, str, dict[str, float]]] = {
    "wrong_scheme": ("faulty", "INI002", {"initialize": 0.1}),
    "forgotten_eval": ("faulty", "NRM003", {"eval()": 0.5, "recalibrate": 0.03}),
    "tiny_batches": ("faulty", "NRM003", {"replace": 0.2}),
    "wild_weights": ("bare", "INI002", {"initialize": 0.1, "learning rate": 0.1}),
}


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as a module, with its neighbours importable as when it is run as a script."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs_and_shows(name: str) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / f"{name}.py")], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in SCRIPTS[name]), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", PITFALLS)
def test_pitfall_is_told_and_its_cures_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, code, cures = PITFALLS[name]

    measured: dict[str, Any] = example(name, monkeypatch).main()

    told = capsys.readouterr().out
    assert code in told
    assert "no problem found" in told
    assert measured.keys() == cures.keys()
    for cure, least in cures.items():
        gain = paired_interval([after - before for before, after in measured[cure]])
        assert gain.n >= 5
        assert gain.low > least, (cure, gain)
        assert all(f"{before:6.1%} -> {after:6.1%}" in told for before, after in measured[cure])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", PITFALLS)
def test_pitfall_is_caught_and_its_healthy_twin_is_silent(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example(name, monkeypatch)
    where, code, _ = PITFALLS[name]
    caught = gs.check(module.faulty(seed) if where == "faulty" else module.bare(module.faulty(seed)))

    assert caught.findings[0].code == code
    assert gs.check(module.healthy(seed)).ok


@pytest.mark.slow
def test_wild_weights_are_seen_by_audit_and_not_once_they_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("wild_weights", monkeypatch)
    batch = importlib.import_module("digits").digits()[0]
    wild, fit = (gs.norm.audit(subject.model, batch).norms for subject in (module.faulty(), module.healthy()))

    assert all(norm.gain > 20 for norm in wild)
    assert all(0.5 < norm.gain < 2 for norm in fit)
    assert gs.check(module.bare(module.healthy())).ok


@pytest.mark.slow
def test_serving_in_training_mode_leaves_statistics_that_audit_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("forgotten_eval", monkeypatch)
    shared = importlib.import_module("digits")
    model, data = module.faulty().model, shared.digits()[0]
    unspoiled = gs.norm.audit(model, data).apart

    shared.accuracy(model, module.requests())

    assert unspoiled == ()
    assert len(gs.norm.audit(model, data).apart) == 3
    assert gs.norm.audit(gs.norm.recalibrate(model, shared.batches(data, 64)).model, data).apart == ()


def test_every_example_is_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SCRIPTS, *PITFALLS, "digits"}
