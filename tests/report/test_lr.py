"""A suggested learning rate as text, JSON, picture and page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from gainstage.errors import InputError
from gainstage.landscape.learning_rate.records import LearningRate, ShortRun
from gainstage.landscape.loss_along import StepProfile
from gainstage.report.html.lr_page import render_lr_page
from gainstage.report.lr_charts import lr_chart, write_lr
from gainstage.report.lr_json import lr_json, schema_text, shipped_schema
from gainstage.report.lr_text import lr_lines, picture

PROFILE = StepProfile("optimizer", (0.1, 1.0), (2.3,), ((0.9, math.inf),), 1.0, 1.0, 0.1, 0.2, 2.0)
RUNS = (
    ShortRun(0.05, (2.3, 1.9, 1.5), 1.5, held=True),
    ShortRun(0.2, (2.3, math.inf), math.inf, held=False),
)
FOUND = LearningRate(
    recommended=0.02, safe_max=0.04, optimizer="SGD", family="plain", reason="runs of 14 steps held.",
    validity="For some steps.", notes=("Only one batch.",), held=0.05, lost=0.2, runs=RUNS,
    ramp=((0.01, 0.02, 0.04, 0.08), (2.3, 2.0, 1.4, math.nan)), reference=2.2, start=2.3, curvature_limit=None,
    profile=PROFILE, noise=0.5, equivalents=41.3, name="a <model>",
)  # fmt: skip


def test_text_says_both_rates_the_reason_and_the_cost() -> None:
    text = "\n".join(lr_lines(FOUND, 80))
    assert "recommended learning rate  0.02" in text
    assert "safe maximum               0.04" in text
    assert "Runs of 14 steps held." in text
    assert "Only one batch." in text
    assert "lr 0.2       lost its way  broke down (2 steps)" in text
    assert "41.3 forward and backward passes" in text
    assert "λ_max" not in text


def test_the_picture_marks_the_rates_under_their_columns() -> None:
    lines = lr_lines(FOUND, 80)
    marks = next(line for line in lines if line.split() == ["r", "m"])
    runs = next(line for line in lines if line.strip().startswith("runs "))
    start = 8  # columns are two wide, one for each doubling of 0.01
    assert marks.index("r") == start + 2
    assert marks.index("m") == start + 4
    assert runs.index("●") == start + 4
    assert any(line.rstrip().endswith("×") and "runs" not in line for line in lines)


def test_negative_losses_stand_in_the_picture_too() -> None:
    runs = (ShortRun(0.05, (-5.0, -6.0, -7.0), -7.0, held=True),)
    found = replace(FOUND, start=-5.0, reference=-5.0, runs=runs, ramp=((0.01, 0.02, 0.04), (-5.0, -6.0, -2.0)))
    columns = [line[8:] for line in picture(found, 80)[:6]]
    assert "".join(columns).count("×") == 1
    assert any("█" in line for line in columns)
    rows = [row for layer in lr_chart(found).to_dict()["layer"] for row in layer["data"]["values"]]
    assert sorted(row["loss"] for row in rows if "loss" in row) == [-7.0, -6.0, -5.0, -4.0]


@pytest.mark.parametrize("width", [20, 40, 200])
def test_the_picture_fits_its_width(width: int) -> None:
    wide = replace(FOUND, ramp=(tuple(1e-6 * 2.0**k for k in range(30)), (2.0,) * 30))
    lines = lr_lines(wide, width)
    picture = lines[lines.index(next(line for line in lines if line.strip().startswith("runs "))) - 6 :][:9]
    assert max(map(len, picture)) <= max(width, 24)


def test_json_follows_the_shipped_schema() -> None:
    document = json.loads(lr_json(FOUND))
    jsonschema.validate(document, json.loads(shipped_schema()))
    assert document["schema_version"] == 1
    assert document["ramp"]["losses"][-1] is None
    assert document["runs"][1]["last"] is None
    assert document["profile"]["losses"] == [0.9, None]


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert shipped_schema() == schema_text()


def test_the_page_escapes_names_and_holds_all_runs() -> None:
    page = render_lr_page(FOUND)
    assert "a &lt;model&gt;" in page
    assert "<model>" not in page
    assert "Start at a learning rate of 0.02; go no higher than 0.04." in page
    assert page.count("lost its way") >= 1
    assert "<script" not in page


def test_pictures_are_written_by_the_files_ending(tmp_path: Path) -> None:
    assert write_lr(FOUND, tmp_path / "lr.svg").read_text().startswith("<svg")
    assert write_lr(FOUND, tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"must end in \.svg or \.png"):
        write_lr(FOUND, tmp_path / "lr.pdf")


def test_the_chart_shows_every_rate_that_was_tried() -> None:
    layers = lr_chart(FOUND).to_dict()["layer"]
    shown = {row["lr"] for layer in layers for row in layer["data"]["values"]}
    assert shown == {0.01, 0.02, 0.04, 0.08, 0.05, 0.2}
