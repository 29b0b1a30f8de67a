"""The page: self-contained, escaped, readable without JavaScript; tried in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gainstage.errors import InputError
from gainstage.report.document import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def written(report: Report, path: Path, **options: Any) -> str:
    report.to_html(path, **options)
    return path.read_text(encoding="utf-8")


def test_has_findings_levels_trial_and_verdicts(report: Report, trial: Any, verdicts: Any, tmp_path: Path) -> None:
    page = written(report, tmp_path / "page.html", trial=trial, verdicts=verdicts)

    assert all(finding.code in page for finding in report.findings)
    assert all(layer.name in page for layer in report.trace.layers)
    assert all(verdict.claim.id in page for verdict in verdicts)
    assert "95 %" in page
    assert page.count("<svg") >= 1


def test_loads_nothing(report: Report, trial: Any, verdicts: Any, tmp_path: Path) -> None:
    page = written(report, tmp_path / "page.html", trial=trial, verdicts=verdicts)
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)[^"']*["']""", page) == []
    assert "@import" not in page
    assert "<script" not in page


def test_names_are_escaped(hostile: Report, trial: Any, tmp_path: Path) -> None:
    page = written(hostile, tmp_path / "page.html", trial=trial)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_five_hundred_layers_are_a_page_like_any_other(report: Report, tmp_path: Path) -> None:
    layer = report.trace.layers[0]
    many = tuple(replace(layer, name=f"{layer.name}.{i}") for i in range(500))
    page = written(replace(report, trace=replace(report.trace, layers=many)), tmp_path / "page.html")
    assert len(page) < 1_500_000


def test_a_place_that_cannot_be_written_is_said(report: Report, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path must lie in a folder that exists"):
        report.to_html(tmp_path / "no" / "page.html")
    with pytest.raises(InputError, match="path must be a file"):
        report.to_html(tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@pytest.mark.slow
@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("name", ["report", "hostile"])
def test_opens_without_an_error_or_a_request(
    browser: Any, javascript: bool, name: str, trial: Any, verdicts: Any, tmp_path: Path, request: Any
) -> None:
    path = tmp_path / "page.html"
    report = request.getfixturevalue(name)
    report.to_html(path, trial=trial, verdicts=verdicts)
    context = browser.new_context(java_script_enabled=javascript, offline=True, viewport={"width": 400, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())

    assert errors == []
    assert requests == [path.as_uri()]
    assert report.findings[0].code in page.inner_text("body")
    assert page.locator("table").count() >= 1
    # Nothing sticks out of a phone's screen.
    if javascript:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    context.close()
