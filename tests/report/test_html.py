from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis.records import Trial
from gainstage.errors import InputError
from gainstage.report.charts import chart_svg
from gainstage.report.document import Report
from gainstage.report.html.page import render_page
from gainstage.report.html.trial import effect_in_words, trial_view
from gainstage.report.html.verdicts import VerdictLike

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Collects tags, ids, links and text, and fails on a tag that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = {key: value or "" for key, value in attrs}
        self.ids += [values["id"]] if "id" in values else []
        (self.links if tag == "a" else self.loads).extend(
            values[k] for k in ("src", "href", "xlink:href") if k in values
        )
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(report: Report, trial: Trial, verdicts: Sequence[VerdictLike]) -> str:
    bands = {layer.name: (0.5, 1.6) for layer in report.trace.layers}
    return render_page(report, trial=trial, verdicts=verdicts, bands=bands)


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    outline = Outline(page)
    assert "script" not in outline.tags
    assert [target for target in outline.loads if not target.startswith(("data:", "#"))] == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org/)", page)


def test_the_page_says_what_the_report_says(page: str, report: Report) -> None:
    text = Outline(page).text
    for finding in report.findings:
        assert all(part in text for part in (finding.code, finding.message, finding.advice))
    for said in ("2 errors, 2 warnings", "Follows from this: 1 error, 1 warning", "0.0884", "cross_entropy 2.303",
                 "no trial was run (steps=0)", "Supported", "Refuted", "Not run", "n = 5", "He et al. 2015",
                 "95 % interval of the reduction 1.94 to 2.2"):  # fmt: skip
        assert said in text
    assert all(layer.name in text for layer in report.trace.layers)


def test_levels_outside_theorys_band_say_so_in_words(report: Report) -> None:
    names = [layer.name for layer in report.trace.layers]
    page = render_page(report, bands={names[0]: (1.0, 2.0), names[2]: (0.01, 0.02), names[4]: (0.1, 1.0)})
    assert re.findall(r'<span class="o">(\w+)', page) == ["low", "high"]
    assert page.count("<s style") == 3


def test_norms_and_residual_sums_are_marked(clean: Report) -> None:
    layers = list(clean.trace.layers)
    layers[1] = replace(layers[1], kind="norm", op="batch_norm")
    layers[2] = replace(layers[2], kind="other", op="add", inputs=(0, 1))
    page = render_page(replace(clean, trace=replace(clean.trace, layers=tuple(layers))))
    assert '<em class="norm">norm</em> batch_norm' in page
    assert '<em class="residual">residual</em> add' in page


def test_names_are_escaped_and_non_finite_layers_clip(hostile: Report) -> None:
    page = render_page(hostile, title="<script>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;[red]\\x1b[31m\\u202e" in page
    assert not {"\x1b", "\u202e"} & set(page)
    assert '<b class="clip">clip</b><span class="sr">, 12 values not finite</span>' in page
    Outline(page)
    assert "<script" not in hostile._repr_html_()


def test_a_recording_of_a_model_makes_a_page() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))
    report = gs.check(model, (torch.randn(16, 8), torch.arange(16) % 3))
    text = Outline(render_page(report)).text
    assert all(layer.name in text for layer in report.trace.layers)
    assert "dead fraction" in text


def test_a_clean_page_without_layers(clean: Report) -> None:
    assert "No problem found" in render_page(clean)
    Outline(render_page(replace(clean, trace=replace(clean.trace, layers=(), parameters=(), inputs=()))))


def test_five_hundred_layers_stay_small_and_quick(report: Report) -> None:
    many = tuple(replace(layer, name=f"encoder.block.{i}.mlp.fc") for i in range(8) for layer in report.trace.layers)
    many = tuple(replace(layer, name=f"{layer.name}{i}") for i, layer in enumerate(many))
    finding = replace(report.findings[0], layers=tuple(layer.name for layer in many))
    big = replace(report, trace=replace(report.trace, layers=many), findings=(finding,) * 1)
    start = time.perf_counter()
    page = render_page(big, bands={layer.name: (0.5, 1.6) for layer in many})
    assert len(many) == 488
    assert len(page.encode()) < 1_000_000
    assert time.perf_counter() - start < 5  # takes 0.2 s; the limit is for a machine that is busy


def test_the_same_report_gives_the_same_page(report: Report, trial: Trial, verdicts: Sequence[VerdictLike]) -> None:
    pages = [render_page(report, trial=trial, verdicts=verdicts) for _ in range(2)]
    assert pages[0] == pages[1]


def test_charts_take_the_pages_colour_and_ids_of_their_own() -> None:
    rule = alt.Chart(alt.Data(values=[{"x": 1}, {"x": 2}])).mark_line(clip=True).encode(x="x:Q", y="x:Q")
    rule = (rule + alt.Chart(alt.Data(values=[{"x": 1}])).mark_rule(clip=True).encode(x="x:Q")).properties(
        background="red"
    )
    first, second = chart_svg(rule, prefix="a"), chart_svg(rule, prefix="b")
    assert "currentColor" in first
    assert not re.search(r'fill="red"|stroke="black"', first)
    ids, others = (set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second))
    assert ids
    assert not ids & others
    assert set(re.findall(r"url\(#([^)]+)\)", first)) <= ids


def test_the_effect_in_words(trial: Trial) -> None:
    assert effect_in_words(trial).endswith("Improved.")
    worse = replace(trial, improved=False, effect=-0.5, interval=(-0.9, -0.1))
    assert "0.5 higher over 3 seeds and 200 steps" in effect_in_words(worse)
    assert "Not shown to improve" in effect_in_words(worse)
    assert "finite" in effect_in_words(replace(trial, effect=math.inf, interval=(math.nan, math.nan)))


def test_runs_that_leave_the_finite_numbers_end_there(trial: Trial) -> None:
    view = trial_view(replace(trial, before=((2.3, 9.0, math.inf), (2.3, 8.0)), after=((2.3, 2.0, 1.0),) * 2))
    assert view.steps == ("0", "1", "2")
    assert view.table[0] == ("without", ("2.3", "8.5", "not finite"))
    assert view.table[1] == ("with the fixes", ("2.3", "2", "1"))
    assert trial_view(replace(trial, before=((math.nan,),), after=())).wide == ""


def test_long_trials_of_many_seeds_are_thinned_for_the_chart(trial: Trial) -> None:
    curves = tuple(tuple(2.0 + 0.001 * i for i in range(5000)) for _ in range(20))
    assert trial_view(replace(trial, before=curves, after=curves)).narrow.startswith("<svg")


def test_writing_is_whole_or_not_at_all(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    path.chmod(0o640)
    assert report.to_html(path) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert path.stat().st_mode & 0o777 == 0o640

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    path.write_text("old")
    with pytest.raises(InputError, match=r"path must be writable, got .*No space left on device.*Choose another"):
        report.to_html(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Report\.to_html: path must lie in a folder that exists, got .*Create"):
        report.to_html(tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match="path must be a file, got the folder"):
        report.to_html(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(report: Report, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="path must be writable"):
        report.to_html(tmp_path / "report.html")
