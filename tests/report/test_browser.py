"""The page in a real browser: opens, asks for nothing, needs no script."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from gainstage.diagnosis.records import Trial
from gainstage.report.document import Report
from gainstage.report.html.verdicts import VerdictLike

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@pytest.fixture
def file(report: Report, trial: Trial, verdicts: Sequence[VerdictLike], tmp_path: Path) -> str:
    bands = {layer.name: (0.5, 1.6) for layer in report.trace.layers}
    return report.to_html(tmp_path / "report.html", trial=trial, verdicts=verdicts, bands=bands).as_uri()


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("width", [1200, 400])
def test_opens_without_error_and_without_a_request(browser: Browser, file: str, javascript: bool, width: int) -> None:
    context = browser.new_context(
        java_script_enabled=javascript, offline=True, viewport={"width": width, "height": 900}
    )
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file)
    assert page.title() == "PlainMLP: 2 errors, 2 warnings · gainstage"
    assert page.locator("table.meter tbody tr").count() == 61
    assert_details_open(page)
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    if javascript:
        assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def assert_details_open(page: Page) -> None:
    consequence = page.get_by_text("What reaches the read-out is the same")
    assert not consequence.is_visible()
    page.get_by_text("Follows from this: 1 error, 1 warning").click()
    assert consequence.is_visible()


def test_hostile_names_do_nothing(browser: Browser, hostile: Report, tmp_path: Path) -> None:
    page = browser.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(hostile.to_html(tmp_path / "report.html").as_uri())
    assert page.locator("script").count() == 0
    assert dialogs == []
    assert page.locator("h1").inner_text() == "<script>alert(1)</script>[red]\\x1b[31m\\u202e"
    page.close()


def test_a_notebook_shows_the_page_in_a_frame(browser: Browser, report: Report) -> None:
    page = browser.new_page()
    page.set_content(report._repr_html_())
    frame = page.frame_locator("iframe")
    assert frame.locator(".verdict").inner_text() == "2 errors, 2 warnings"
    page.close()


def test_the_meter_is_a_table_to_a_screen_reader(browser: Browser, file: str) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(file)
    row = page.get_by_role("row", name="layers.9 INI003")
    assert row.get_by_role("rowheader").inner_text().split() == ["layers.9", "INI003"]
    assert page.get_by_role("table", name="Forward and gradient root mean square of every layer").count() == 1
    page.close()
