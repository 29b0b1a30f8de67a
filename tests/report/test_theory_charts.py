"""Charts of theory: axes are named, the edge is in them, and both kinds of file are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gainstage.errors import InputError, UnknownNameError
from gainstage.report.theory_charts import plotted, theory_chart, write_chart
from gainstage.theory import activation, critical_point

AXES = {
    "edge-of-chaos": ("weight variance σ_w² = fan_in · Var W", "bias variance σ_b² = Var b"),
    "depth-scale": ("weight variance σ_w² = fan_in · Var W", "depth scale in layers"),
    "q-map": ("variance q", "variance q′ of the next layer"),
    "c-map": ("correlation c", "correlation c′ of the next layer"),
}


@pytest.mark.parametrize("topic", AXES)
def test_svg_names_its_axes(topic: str, tmp_path: Path) -> None:
    assert plotted(topic)
    svg = write_chart(topic, "tanh", tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    for title in AXES[topic]:
        assert f">{title}</text>" in svg


def test_png_is_one(tmp_path: Path) -> None:
    content = write_chart("q-map", "relu", tmp_path / "chart.PNG").read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert len(content) > 10_000


def test_the_edge_is_a_thick_line_between_the_named_phases(tmp_path: Path) -> None:
    svg = write_chart("edge-of-chaos", "tanh", tmp_path / "phases.svg").read_text(encoding="utf-8")
    lines = re.findall(r'<path[^>]*d="(M[^"]+)"[^>]*stroke="#111111"[^>]*stroke-width="2.5"', svg)
    assert len(lines) == 1
    assert lines[0].count("L") == 40
    assert "ordered: χ₁ &lt; 1" in svg
    assert "chaotic: χ₁ &gt; 1" in svg


def test_the_depth_scale_marks_the_edge_or_says_why_it_ends() -> None:
    edge = critical_point(activation("tanh"), 0.05).weight_var
    assert f"edge of chaos, σ_w² = {edge:.3f}" in str(theory_chart("depth-scale", activation("tanh")).to_dict())
    relu = str(theory_chart("depth-scale", activation("relu")).to_dict())
    assert "no fixed point" in relu
    assert "edge of chaos" not in relu


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--plot: file must end in \.svg or \.png, got 'chart\.pdf'\. "):
        write_chart("q-map", "tanh", "chart.pdf")
    with pytest.raises(
        InputError, match=r"^theory_chart: topic must be one with a chart, got 'fans'\. Those are edge-"
    ):
        write_chart("fans", "tanh", tmp_path / "chart.svg")
    with pytest.raises(InputError, match=r"^--plot: path must lie in a folder that exists"):
        write_chart("q-map", "tanh", tmp_path / "none" / "chart.svg")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'tanh'"):
        write_chart("q-map", "tahn", tmp_path / "chart.svg")
