"""What docs/ci.md shows can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gainstage.cli import targets
from gainstage.diagnosis.settings import settings_near
from gainstage.integrations import BUILT_IN

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")


def block(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_settings_are_valid_and_all_are_shown(tmp_path: Path) -> None:
    (table,) = block("toml")
    (tmp_path / "pyproject.toml").write_text(table)
    found = settings_near(tmp_path)
    assert all((found.select, found.ignore, found.fail_on == "error", found.per_module_ignores))


def test_every_form_of_a_target_is_named_in_the_help_too() -> None:
    assert all(f"`{package}:" in DOCUMENT and f"{package}:" in targets.FORMS for package in BUILT_IN)


def test_the_hook_of_the_example_is_the_one_that_there_is() -> None:
    yaml = pytest.importorskip("yaml")
    configuration, steps = (yaml.safe_load(text) for text in block("yaml"))
    (hook,) = configuration["repos"][0]["hooks"]
    offered = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] in {entry["id"] for entry in offered}
    assert all(step["run"].startswith("gainstage check ") for step in steps if "run" in step)
