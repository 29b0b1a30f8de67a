"""The lab's site: what it says, that it stands alone, and how it looks in a real browser."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gainstage import lab
from gainstage.errors import InputError
from gainstage.lab.catalogue import CLAIMS
from gainstage.lab.catalogue.confrontations import CONFRONTATIONS
from gainstage.lab.hearing import Hearing, SideResult
from gainstage.report.html.lab_site import WORDS, page_of, rows_csv, write_site
from gainstage.report.lab_table import verdict_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
CONFRONTATION = CONFRONTATIONS[0]


def other(number: int, outcome: str) -> lab.Verdict:
    claim = CLAIMS[number]
    return lab.Verdict(
        claim.id, claim.statement, outcome, "quick", claim.scope, f"It is {outcome} <b>here</b>.", claim.predicted
    )


@pytest.fixture(scope="module")
def verdicts() -> list[lab.Verdict]:
    return [lab.run("lemma-4-5"), lab.run("scale-invariance"), other(0, "inconclusive"), other(1, "not-run")]


@pytest.fixture(scope="module")
def hearings() -> list[Hearing]:
    sides = tuple(
        SideResult(side.label, side.statement, side.source, side.claims, "supported", 5, "Seen.", 1.0, (0.5, 1.5))
        for side in CONFRONTATION.sides
    )
    return [
        Hearing(
            CONFRONTATION.id, CONFRONTATION.title, CONFRONTATION.question, "heard", "quick", CONFRONTATION.scope,
            sides=sides, reading="Both hold.", seeds=(0, 1),
        )
    ]  # fmt: skip


@pytest.fixture(scope="module")
def site(verdicts: list[lab.Verdict], hearings: list[Hearing], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site"), verdicts, hearings).parent


def test_there_is_a_page_for_each(site: Path, verdicts: list[lab.Verdict], hearings: list[Hearing]) -> None:
    for result in (*verdicts, *hearings):
        assert (site / page_of(result)).is_file()


def test_the_index_says_every_outcome_in_words(site: Path, verdicts: list[lab.Verdict]) -> None:
    text = (site / "index.html").read_text()
    for verdict in verdicts:
        assert WORDS[verdict.outcome] in text
        assert f'href="{page_of(verdict)}"' in text
    assert "Both hold." in text


def test_a_claims_page_has_all_that_it_owes(site: Path) -> None:
    page = (site / "lemma-4-5.html").read_text()
    for part in ("REFUTED", "Dannemann", "Control", "<svg", "gainstage lab run lemma-4-5", "Design", "torch", "Range"):
        assert part in page, part


def test_links_lead_somewhere(site: Path) -> None:
    for path in site.glob("*.html"):
        for target in re.findall(r'href="([^"#:]+)"', path.read_text()):
            assert (site / target).is_file(), (path.name, target)


def test_names_are_no_markup(site: Path) -> None:
    assert "It is not-run &lt;b&gt;here&lt;/b&gt;." in (site / page_of(other(1, "not-run"))).read_text()


def test_a_claim_without_a_predicted_direction_is_no_surprise(verdicts: list[lab.Verdict], tmp_path: Path) -> None:
    open_ended = replace(verdicts[0], predicted=None)
    write_site(tmp_path, [open_ended], [])
    index = (tmp_path / "index.html").read_text()
    assert "no direction was predicted" in index
    assert "None" not in index
    assert "no direction" in (tmp_path / page_of(open_ended)).read_text()
    assert "refuted; no direction was predicted" in verdict_page([open_ended], []).lower()


def test_rows_are_whole(site: Path, verdicts: list[lab.Verdict]) -> None:
    rows = list(csv.DictReader(io.StringIO((site / "lemma-4-5.csv").read_text())))
    assert len(rows) == len(verdicts[0].rows)
    assert rows_csv([{"a": 1}, {"b": None, "a": 2}]) == "a,b\n1,\n2,\n"


def test_full_runs_have_pages_of_their_own(verdicts: list[lab.Verdict], tmp_path: Path) -> None:
    full = replace(verdicts[1], preset="full")
    write_site(tmp_path, [verdicts[1], full], [])
    assert {path.name for path in tmp_path.glob("*.html")} == {
        "index.html", "scale-invariance.html", "scale-invariance-full.html",
    }  # fmt: skip


def test_nothing_to_show_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store must have results, got none\. Run gainstage lab run --all first"):
        write_site(tmp_path, [], [])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH")
def test_pages_open_in_a_browser(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        for width in (1200, 400):
            page = browser.new_context(offline=True, viewport={"width": width, "height": 900}).new_page()
            complaints: list[str] = []
            requests: list[str] = []
            page.on("console", lambda message, told=complaints: told.append(message.text))
            page.on("request", lambda request, asked=requests: asked.append(request.url))
            for path in sorted(site.glob("*.html")):
                page.goto(path.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (path.name, width)
            page.goto((site / "index.html").as_uri())
            page.get_by_role("link", name="lemma-4-5").click()
            assert page.title() == "lemma-4-5 · gainstage lab"
            assert page.get_by_text("✗ REFUTED").is_visible()
            page.get_by_text("The numbers of the design").click()
            assert page.locator("code", has_text="problems").is_visible()
            assert complaints == []
            assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        browser.close()
