"""``gainstage init``: every scheme, what --help says of them, and what a wrong name is answered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gainstage.schemes import scheme_names
from gainstage.schemes.catalogue import FAMILIES
from gainstage.schemes.structured import STRUCTURED

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", scheme_names())
def test_every_scheme_by_its_name(name: str, run: Run, factories: str) -> None:
    status, out, err = run("init", f"{factories}:healthy", "--scheme", name)
    assert (status, err) == (0, "")
    assert out.startswith("layer  followed by  scheme")
    drawn_by = {"lsuv": "orthogonal", **{key: entry.base for key, entry in STRUCTURED.items()}}.get(name, name)
    assert drawn_by.startswith("auto") or drawn_by in out


def test_what_is_written_is_what_was_drawn(run: Run, factories: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    assert run("init", f"{factories}:healthy", "--scheme", "identity", "--save", str(path))[0] == 0
    assert load_file(path)["0.weight"].diagonal().tolist() == [1.0] * 16


def test_the_table_holds_predicted_against_measured_levels(run: Run, factories: str) -> None:
    _, out, _ = run("init", f"{factories}:healthy", "--scheme", "he_normal")
    head, first = out.splitlines()[:2]
    assert head.split()[-6:] == ["before:", "predicted", "measured", "after:", "predicted", "measured"]
    predicted, measured = (float(cell) for cell in first.split()[-2:])
    assert predicted == pytest.approx(measured, rel=0.5)


def test_a_dry_run_shows_the_plan_and_draws_nothing(run: Run, factories: str, tmp_path: Path) -> None:
    status, out, err = run("init", f"{factories}:healthy", "--dry-run")
    assert (status, err) == (0, "")
    assert "he_normal" in out
    assert "fan in" in out
    assert "initialized" not in out
    path = str(tmp_path / "weights.safetensors")
    status, out, err = run("init", f"{factories}:healthy", "--dry-run", "--save", path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--save must come without --dry-run" in err


def test_help_lists_the_families(run: Run) -> None:
    _, out, _ = run("init", "--help")
    listed = " ".join(out.replace("│", " ").split())
    assert f"Families: {', '.join(FAMILIES)};" in listed


@pytest.mark.parametrize(("name", "nearest"), [("orthoganal", "orthogonal"), ("he", "he_normal"), ("gtp", "gpt")])
def test_a_wrong_scheme_is_one_line_with_the_nearest_name(name: str, nearest: str, run: Run, factories: str) -> None:
    status, out, err = run("init", f"{factories}:healthy", "--scheme", name)
    assert (status, out) == (2, "")
    assert f"scheme must be a known one, got {name!r}. Did you mean {nearest!r}?" in err
    assert err.count("\n") == 1
