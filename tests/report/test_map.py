"""A map as text, pictures and a page."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

import gainstage as gs
from gainstage.report.html.map_page import render_map_page
from gainstage.report.map_charts import write_map
from gainstage.report.map_json import schema_text, shipped_schema
from gainstage.report.map_text import map_lines
from gainstage.sweep.trainability.judging import judged, region
from gainstage.sweep.trainability.lattice import Axis
from gainstage.sweep.trainability.records import MapCell, TrainabilityMap

SCALES, RATES = Axis((0.1, 1.0, 10.0)), Axis((0.01, 0.1, 1.0))
ENDS = {
    "as-is": [[2.3, 2.3, None], [2.2, 0.1, None], [2.3, 1.0, None]],
    "<batch>": [[2.3, 2.3, 2.3], [2.3, 2.3, 2.3], [2.3, 2.3, 0.3]],
}


@pytest.fixture
def found() -> TrainabilityMap:
    cells = [
        MapCell(norm, SCALES.values[row], RATES.values[column], 2.3, value, None if value is not None else 1)
        for norm, rows in ENDS.items()
        for row, values in enumerate(rows)
        for column, value in enumerate(values)
    ]
    cells, start, best = judged(cells)
    whole = TrainabilityMap(
        "a <model>", "SGD", 60, SCALES, RATES, tuple(cells), (), (("none", "the model has no norm"),),
        ("layer: 2 norms, 1 places left",), start, best, 0.25,
    )  # fmt: skip
    bare = tuple(region(norm, {}, SCALES, RATES) for norm in ENDS)
    filled = TrainabilityMap(**{**vars(whole), "regions": bare})
    regions = tuple(region(norm, filled.filled(norm), SCALES, RATES) for norm in ENDS)
    return TrainabilityMap(**{**vars(whole), "regions": regions})


def test_the_text_shows_each_run_by_its_progress(found: TrainabilityMap) -> None:
    lines = map_lines(found, 100)
    assert [line.split() for line in lines[:5]] == [
        ["as-is", "<batch>"],
        ["10", "·▓×", "10", "··█"],
        ["1", "·█×", "1", "···"],
        ["0.1", "··×", "0.1", "···"],
        ["scale", "0.01", "1", "lr", "scale", "0.01", "1", "lr"],
    ]
    text = "\n".join(lines)
    assert "as-is: trains over 0 decades of learning rate (0.1 to 0.1)" in text
    assert "Recommended: lr 0.1, 1 times below the largest that trains." in text
    assert "<batch>: does not train at the model's own initial scale; best at scale 10, lr 1 (loss 0.3)." in text
    assert "none: not mapped: the model has no norm." in text
    assert "18 runs of 60 steps with SGD; a run trains if it makes half of the way from 2.3" in text
    assert max(len(line) for line in map_lines(found, 20)[:10]) < 20


def test_pictures_by_their_ending(found: TrainabilityMap, tmp_path) -> None:
    svg = write_map(found, tmp_path / "map.svg").read_text()
    assert svg.startswith("<svg")
    assert "initial scale" in svg
    assert write_map(found, tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(gs.GainstageError, match=r"must end in \.svg or \.png, got"):
        write_map(found, tmp_path / "map.pdf")


def test_the_page_is_self_contained_and_escapes_names(found: TrainabilityMap) -> None:
    page = render_map_page(found)
    assert page == render_map_page(found)
    assert "a &lt;model&gt;" in page
    assert "<batch>" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "<script" not in page
    assert page.count("<svg") == 2
    assert page.count("<tr>") == 1 + 18
    assert "as-is: learning rate 0.1, 0 decades train." in page


def test_json_follows_the_shipped_schema(found: TrainabilityMap) -> None:
    schema = json.loads(shipped_schema())
    jsonschema.validate(json.loads(found.to_json()), schema)
    wrong = json.loads(found.to_json())
    wrong["cells"]["columns"]["lr"][0] = "fast"
    with pytest.raises(jsonschema.ValidationError, match="fast"):
        jsonschema.validate(wrong, schema)


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert shipped_schema() == schema_text()
