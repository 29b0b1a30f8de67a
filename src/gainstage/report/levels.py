"""The level meter on a terminal: one line a layer, forward and gradient rms on logarithmic scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from gainstage.report.outline import findings_by_layer, gravest
from gainstage.report.scale import LogScale, power_of_ten
from gainstage.report.terminal import Terminal
from gainstage.report.text import STYLES
from gainstage.report.wording import SEVERITY_WORDS, counted, figure, module_label
from gainstage.rules.base import Finding
from gainstage.trace.records import LayerRecord, Trace

MOST_LINES = 24
_NUMBER = 8


@dataclass(frozen=True)
class Columns:
    """Widths of the columns: the bars take what the name, the operation and the figures leave."""

    name: int
    op: int
    bar: int

    @classmethod
    def of(cls, trace: Trace, width: int) -> Columns:
        """What fits ``width``."""
        longest = max((len(module_label(layer.name)) for layer in trace.layers), default=4)
        name = min(max(longest, 5), max(10, width // 3))
        op = min(max((len(layer.op) for layer in trace.layers), default=2), 14 if width >= 80 else 8)
        # Marker and gaps: two before the name, one after it, two before each meter, one before each figure.
        rest = width - name - op - 2 * _NUMBER - 9
        return cls(name, op, max(4, min(24, rest // 2)))


def render_levels(
    console: Console, trace: Trace, *, findings: Iterable[Finding] = (), most_lines: int = MOST_LINES
) -> None:
    """Prints one line a layer: a mark, name, operation, forward rms and gradient rms as bars and figures.

    Args:
        console: A rich console.
        trace: What was recorded.
        findings: Layers that they name are marked with the severity's letter, and never left out.
        most_lines: A longer network is thinned in its middle.
    """
    terminal = Terminal(console)
    columns = Columns.of(trace, terminal.width)
    marks = findings_by_layer(trace, findings)
    scales = LogScale.of(x.rms for x in trace.layers), LogScale.of(x.grad_rms for x in trace.layers)
    _head(terminal, columns, scales)
    for group in thinned(trace.layers, set(marks), most_lines):
        if len(group) == 1:
            _layer(terminal, columns, scales, group[0], marks.get(group[0].name, []))
        else:
            terminal.line((_folded(group), "dim"), indent=2)
    if marks:
        terminal.line((_legend(marks), "dim"))


def thinned(layers: Sequence[LayerRecord], named: set[str], most: int) -> list[list[LayerRecord]]:
    """The layers in order, those that are left out together as one group of two or more.

    Shown are the ends, what is named, and the first layer with a non-finite value.
    """
    if len(layers) <= most:
        return [[layer] for layer in layers]
    end = max(2, min(most // 3, (most - len(named)) // 2))
    broken = next((layer.name for layer in layers if not layer.finite), None)
    groups: list[list[LayerRecord]] = []
    folding = False
    for position, layer in enumerate(layers):
        shown = position < end or position >= len(layers) - end or layer.name in named or layer.name == broken
        if not shown and folding:
            groups[-1].append(layer)
        else:
            groups.append([layer])
        folding = not shown
    return groups


def _folded(group: Sequence[LayerRecord]) -> str:
    levels = [layer.rms for layer in group if layer.rms is not None]
    span = f", rms {figure(levels[0])} to {figure(levels[-1])}" if levels else ""
    return f"… {counted(len(group), 'layer')} like these{span} …"


def _head(terminal: Terminal, columns: Columns, scales: tuple[LogScale, LogScale]) -> None:
    """Two lines: what the columns are, and over each bar the two ends of its scale."""
    names = "  " + "layer".ljust(columns.name + 1) + "op".ljust(columns.op)
    ends = " " * len(names)
    for label, scale in zip(("forward rms", "gradient rms"), scales, strict=True):
        names += "  " + label.ljust(columns.bar + 1 + _NUMBER)
        low, high = (power_of_ten(e, ascii_only=not terminal.blocks) for e in (scale.low, scale.high))
        ends += "  " + low + high.rjust(max(columns.bar - len(low), len(high) + 1))
        ends = ends.ljust(len(names))
    terminal.raw(terminal.text(names.rstrip(), "dim"))
    terminal.raw(terminal.text(ends.rstrip(), "dim"))


def _layer(
    terminal: Terminal,
    columns: Columns,
    scales: tuple[LogScale, LogScale],
    layer: LayerRecord,
    findings: Sequence[Finding],
) -> None:
    grave = gravest(findings)
    style = STYLES[grave] if grave else ""
    line = Text(SEVERITY_WORDS[grave][0].upper() if grave else " ", style=style).append(" ")
    line.append_text(_cell(terminal, module_label(layer.name), columns.name, style)).append(" ")
    line.append_text(_cell(terminal, layer.op, columns.op, "dim"))
    levels = (layer.rms, layer.non_finite, "cyan"), (layer.grad_rms, layer.grad_non_finite, "magenta")
    for scale, (value, broken, colour) in zip(scales, levels, strict=True):
        share = 1.0 if broken else scale.position(value)
        line.append("  ").append(terminal.bar(share, columns.bar), style="red" if broken else colour)
        # A figure over the finite values alone would look healthy: the word comes first.
        line.append_text(terminal.text(f" {'CLIP' if broken else figure(value):>{_NUMBER}}", "bold red" * bool(broken)))
    line.rstrip()
    terminal.raw(line)


def _cell(terminal: Terminal, text: str, width: int, style: str) -> Text:
    """The text in just ``width`` columns; of a long path the end is kept, which tells layers apart."""
    cell = terminal.text(text, style)
    if cell.cell_len > width:
        dots = terminal.text("…")
        tail = cell.plain
        while tail and Text(tail).cell_len > width - dots.cell_len:
            tail = tail[1:]
        cell = Text(dots.plain + tail, style=style)
    cell.pad_right(width - cell.cell_len)
    return cell


def _legend(marks: dict[str, list[Finding]]) -> str:
    present = dict.fromkeys(SEVERITY_WORDS[f.severity] for findings in marks.values() for f in findings)
    return "marked: " + ", ".join(f"{word[0].upper()} {word}" for word in present)
