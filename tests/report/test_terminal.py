from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from gainstage.report.document import Report
from gainstage.report.levels import render_levels, thinned
from gainstage.report.text import render_text

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


def console(width: int = 80, encoding: str = "utf-8", *, colour: bool = False) -> Console:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    system = "standard" if colour else None
    return Console(
        file=stream, width=width, color_system=system, force_terminal=colour, force_jupyter=False, legacy_windows=False
    )


def printed(at: Console) -> str:
    stream = at.file
    assert isinstance(stream, io.TextIOWrapper)
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


def test_the_report_says_what_why_and_what_to_do(report: Report) -> None:
    text = str(report)
    lines = text.splitlines()
    assert lines[0].startswith("PlainMLP · 2,031,616 parameters · batch 64 × 256 float32")
    assert "2 errors, 2 warnings" in lines
    assert "ERROR INI002 gain-mismatch at layers.0" in lines
    assert "WARNING DAT001 input-scale at (root)" in lines
    assert "  follows from it: 1 error, 1 warning" in lines
    assert any(line.startswith("    ERROR INI003 signal-vanishes at layers.9: The forward") for line in lines)
    assert [line.split()[0] for line in lines if re.match(r"  (what|why|do|fix) ", line)][:4] == [
        "what",
        "why",
        "do",
        "fix",
    ]
    assert "  NRM002, NRM003: the model has no batch normalization" in lines
    assert lines[-3].strip().startswith("gs.verify(subject, report.fixes())")


@pytest.mark.parametrize("width", [40, 80, 132])
def test_lines_fit_and_carry_no_control_codes_when_piped(report: Report, width: int) -> None:
    at = console(width)
    render_text(at, report, target="model.py:build")
    render_levels(at, report.trace, findings=report.findings)
    text = printed(at)
    # Above 60 columns the meter fits too; below, a terminal wraps its lines and nothing is lost.
    if width >= 60:
        assert max(cell_len(line) for line in text.splitlines()) <= width
    assert not CONTROL.search(text)
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_colour_on_a_terminal_and_words_all_the_same(report: Report) -> None:
    at = console(colour=True)
    render_text(at, report)
    assert "\x1b[" in printed(at)
    assert "ERROR" in printed(at)


def test_names_are_not_markup(hostile: Report) -> None:
    at = console()
    render_text(at, hostile)
    render_levels(at, hostile.trace, findings=hostile.findings)
    text = printed(at)
    assert "ERROR NUM001 first-non-finite at <script>alert(1)</script>[red]\\x1b[31m\\u202e" in text
    assert "[/red]" in text
    assert not CONTROL.search(text)


def test_an_ascii_console_gets_ascii(report: Report) -> None:
    at = console(encoding="ascii")
    render_text(at, report)
    render_levels(at, report.trace)
    text = printed(at)
    assert "PlainMLP - 2,031,616 parameters - batch 64 x 256" in text
    assert "1e-5" in text
    assert "####" in text
    assert "... 45 layers like these" in text


def test_a_clean_network(clean: Report) -> None:
    text = str(clean)
    assert "No problem found" in text.splitlines()
    assert "ERROR" not in text


def test_what_to_type_next_on_the_command_line(report: Report, clean: Report) -> None:
    for told, command in ((report, "gainstage fix m.py:f --verify"), (clean, "gainstage check m.py:f")):
        at = console()
        render_text(at, told, target="m.py:f")
        assert command in printed(at)


def test_levels_show_every_layer_of_a_short_network(clean: Report) -> None:
    at = console()
    render_levels(at, clean.trace)
    lines = printed(at).splitlines()
    assert lines[0].split() == ["layer", "op", "forward", "rms", "gradient", "rms"]
    assert [line.split()[0] for line in lines[2:]] == [layer.name for layer in clean.trace.layers]
    assert lines[2].split()[-1] == "0.01"


def test_thinning_hides_no_layer_that_a_finding_names(report: Report) -> None:
    named = {"layers.30", "layers.31"}
    groups = thinned(report.trace.layers, named, 24)
    alone = [group[0].name for group in groups if len(group) == 1]
    assert named < set(alone)
    assert sum(len(group) for group in groups) == len(report.trace.layers)
    assert len(groups) <= 26
    at = console()
    render_levels(at, report.trace, findings=report.findings)  # INI003 names all layers from the ninth on
    assert all(f" layers.{i} " in printed(at) for i in range(9, 60))


def test_non_finite_layers_clip(hostile: Report) -> None:
    at = console()
    render_levels(at, hostile.trace)
    assert sum("CLIP" in line for line in printed(at).splitlines()) == 1


def test_repr_is_short(report: Report) -> None:
    assert repr(report) == "<Report: 2 errors, 2 warnings; 61 layers>"
