"""What docs/sweep-engine.md shows is what one gets."""

from __future__ import annotations

import doctest
import re
from dataclasses import fields
from pathlib import Path

from gainstage.sweep import Settings, Spec

DOCUMENT = Path(__file__).parents[2] / "docs" / "sweep-engine.md"


def test_examples_run() -> None:
    outcome = doctest.testfile(str(DOCUMENT), module_relative=False, encoding="utf-8")
    assert outcome.attempted > 5
    assert outcome.failed == 0


def test_the_specification_in_toml_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "nets.py").write_text(
        "from gainstage.sweep.examples import mlp\nfrom gainstage.sweep.examples import blobs as digits\n"
    )
    (tmp_path / "sweep.toml").write_text(text)
    assert len(Spec.from_toml(tmp_path / "sweep.toml").cells()) == 24


def test_every_reserved_name_is_told() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [entry.name for entry in fields(Settings) if f"`{entry.name}`" not in text] == []
