"""``[tool.gainstage]`` on the command line: it holds where an option is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


@pytest.fixture
def settings(factories: str) -> Callable[[str], None]:
    def write(table: str) -> None:
        (Path(factories).parent / "pyproject.toml").write_text(f"[tool.gainstage]\n{table}")

    return write


def codes(run: Run, *arguments: str) -> set[str]:
    return {finding["code"] for finding in json.loads(run("check", *arguments, "--format", "json")[1])["findings"]}


def test_settings_beside_the_target_hold_and_options_override(
    run: Run, factories: str, settings: Callable[[str], None]
) -> None:
    target = f"{factories}:deep"
    settings("select = ['GRD']\nfail-on = 'never'")
    assert codes(run, target) == {"GRD001"}
    assert run("check", target)[0] == 0
    assert run("check", target, "--fail-on", "warning")[0] == 1
    assert "INI002" in codes(run, target, "--select", "INI")
    assert "INI002" in codes(run, target, "--select", "")
    settings("ignore = ['INI', 'GRD']")
    assert "INI002" not in codes(run, target)
    assert "INI002" in codes(run, target, "--ignore", "GRD")


def test_module_ignores_hold_for_check_and_fix(run: Run, factories: str, settings: Callable[[str], None]) -> None:
    target = f"{factories}:deep"
    assert "INI002" in run("fix", target)[1]
    settings("per-module-ignores = {'*' = ['INI', 'GRD']}")
    assert "INI002" not in codes(run, target)
    assert "INI002" not in run("fix", target)[1]


def test_the_working_directory_counts_for_a_module(
    run: Run, factories: str, settings: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings("fail-on = 'never'")
    monkeypatch.chdir(Path(factories).parent)
    assert run("check", "gainstage.cli.demo:subject")[0] == 0


def test_bad_settings_are_one_line_and_status_2(run: Run, factories: str, settings: Callable[[str], None]) -> None:
    settings("fail-on = 'wrning'")
    for command in ("check", "fix"):
        status, out, err = run(command, f"{factories}:healthy")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "fail-on must be error, warning or never, got 'wrning'" in err
