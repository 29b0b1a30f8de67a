"""``gainstage check``: what it writes, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Outcome = tuple[int, str, str]

Run = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("factory", "fail_on", "status"),
    [
        ("healthy", "warning", 0),
        ("idle_bias", "warning", 0),  # info only
        ("deep", "warning", 1),
        ("deep", "never", 0),
        ("softmax", "error", 1),
    ],
)
def test_exit_status_follows_fail_on(run: Run, factories: str, factory: str, fail_on: str, status: int) -> None:
    assert run("check", f"{factories}:{factory}", "--fail-on", fail_on)[0] == status


def test_text_names_the_root_cause_and_what_to_type_next(run: Run, factories: str) -> None:
    _, out, err = run("check", f"{factories}:deep")

    assert "INI002" in out
    assert "gainstage fix" in out
    assert "\x1b[" not in out
    assert err == ""


def test_json_has_a_schema_version_and_the_findings(run: Run, factories: str) -> None:
    status, out, _ = run("check", f"{factories}:softmax", "--format", "json")
    document = json.loads(out)

    assert status == 1
    assert document["schema_version"] >= 1
    assert [finding["code"] for finding in document["findings"]] == ["ACT004"]


def test_sarif_and_github(run: Run, factories: str) -> None:
    _, out, _ = run("check", f"{factories}:softmax", "--format", "sarif")
    assert json.loads(out)["version"] == "2.1.0"
    _, out, _ = run("check", f"{factories}:softmax", "--format", "github")
    assert out.startswith("::error ")


def test_sarif_names_the_file_as_an_uri_from_the_working_directory(
    run: Run, factories: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    Path(factories).rename(folder / "factories.py")
    monkeypatch.chdir(tmp_path)
    for place in ("my models/factories.py", "./my models/factories.py", str(folder / "factories.py")):
        _, out, _ = run("check", f"{place}:softmax", "--format", "sarif")
        (result,) = json.loads(out)["runs"][0]["results"]
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location == {"uri": "my%20models/factories.py"}


def test_html_and_output_are_written(run: Run, factories: str, tmp_path: Path) -> None:
    page, report = tmp_path / "page.html", tmp_path / "report.json"
    run("check", f"{factories}:deep", "--html", str(page), "--format", "json", "--output", str(report))

    assert "INI002" in page.read_text()
    assert json.loads(report.read_text())["ok"] is False


def test_select_and_ignore(run: Run, factories: str) -> None:
    _, out, _ = run("check", f"{factories}:deep", "--select", "GRD", "--format", "json")
    assert {finding["code"] for finding in json.loads(out)["findings"]} == {"GRD001"}
    status, _, _ = run("check", f"{factories}:softmax", "--ignore", "ACT004")
    assert status == 0


def test_a_trial_needs_an_optimizer(run: Run, factories: str) -> None:
    status, _, err = run("check", f"{factories}:healthy", "--steps", "3")
    assert (status, "steps=3 needs an optimizer" in err) == (2, True)
    assert run("check", f"{factories}:deep", "--steps", "3", "--fail-on", "never")[0] == 0


def test_a_model_alone_takes_its_batch_from_the_options(run: Run, factories: str) -> None:
    assert run("check", f"{factories}:alone", "--input-shape", "16", "--classes", "3")[0] == 0
    assert run("check", f"{factories}:alone", "--input-shape", "16")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check",), "Missing argument"),
        (("check", "nowhere.py:factory"), "the file must exist, got 'nowhere.py'"),
        (("check", "no.such.module:factory"), "No module named 'no'"),
        (("check", "factory"), "must be path/to/file.py:factory, package.module:factory"),
        (("check", "timm:"), "timm: must be followed by a model"),
        (("check", "FILE:absent"), "'absent' must be a function"),
        (("check", "FILE:broken"), "ValueError: no such thing"),
        (("check", "FILE:wrong"), "must return a Subject.*got int"),
        (("check", "FILE:alone"), "--input-shape 3,32,32"),
        (("check", "FILE:alone", "--input-shape", "a,b"), "must be whole numbers"),
        (("check", "FILE:misfit"), "the model must accept the batch"),
        (("check", "FILE:deep", "--select", "INI9"), "Did you mean 'INI00"),
        (("check", "FILE:deep", "--format", "yaml"), "yaml"),
        (("check", "FILE:deep", "--html", "/no/such/folder/x.html", "--fail-on", "never"), "/no/such/folder"),
        (("no-such-command",), "No such command"),
        (("explain", "INI02"), "Did you mean 'INI002'"),
        (("lab", "run"), "name at least one claim"),
        (("lab", "run", "he-varianc"), "Did you mean 'he-variance'"),
    ],
)
def test_errors_are_one_line_and_status_2(run: Run, factories: str, arguments: tuple[str, ...], message: str) -> None:
    import re

    status, _, err = run(*(argument.replace("FILE", factories) for argument in arguments))

    assert status == 2
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run: Run, factories: str) -> None:
    _, _, err = run("check", f"{factories}:broken", "--debug")
    assert "Traceback" in err


def test_an_interrupt_ends_with_130(run: Run, factories: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gainstage.cli.targets.load", interrupted)
    assert run("check", f"{factories}:deep")[0] == 130
