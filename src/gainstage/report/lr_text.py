"""A suggested learning rate on a terminal: the two figures, the reason, and a picture of what was tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from gainstage.landscape.learning_rate.records import LearningRate, ShortRun
from gainstage.report.wording import counted, figure, printable

_BARS = "▁▂▃▄▅▆▇█"
HELD, BROKEN = "●", "×"
# Of the picture, in lines; of a column and of what stands left of the columns, in characters.
_HEIGHT, _WIDTH, _MARGIN = 6, 2, 8


def lr_lines(found: LearningRate, width: int) -> list[str]:
    """The suggestion as text.

    Args:
        found: The suggestion.
        width: Characters in a line, at the most, of the picture.
    """
    return [
        f"{printable(found.name)}: {found.optimizer}", "",
        f"recommended learning rate  {figure(found.recommended, 2)}",
        f"safe maximum               {figure(found.safe_max, 2)}", "",
        sentence(found.reason), found.validity, *found.notes, "",
        *picture(found, width), "", *_runs(found.runs), "", basis(found),
    ]  # fmt: skip


def sentence(text: str) -> str:
    """With a capital at the beginning."""
    return text[:1].upper() + text[1:]


def basis(found: LearningRate) -> str:
    """What was computed, and what it cost."""
    limit = f"; curvature limit 2/λ_max {figure(found.curvature_limit, 2)}" if found.curvature_limit else ""
    return (
        f"Loss at the start {figure(found.start)}, of a network that knows nothing {figure(found.reference)}{limit}. "
        f"Cost: {figure(found.equivalents)} forward and backward passes, on copies."
    )


def ceiling(found: LearningRate) -> float:
    """The loss above which a picture shows only that it was above: a fifth beyond that of the start."""
    highest = max(found.start, found.reference)
    return highest + abs(highest) / 5


def picture(found: LearningRate, width: int) -> list[str]:
    """The ramp's losses over its rates, and below them the short runs and the suggestion's two rates."""
    rates, losses = found.ramp
    first = min([found.recommended, *rates[:1], *(run.lr for run in found.runs)])
    last = max([found.safe_max, *rates, *(run.lr for run in found.runs)])
    # A column is a factor of two, or more where so many would not fit.
    stride = max(1.0, math.log2(last / first) * _WIDTH / max(1, width - 2 * _MARGIN))
    columns = math.floor(math.log2(last / first) / stride) + 1

    def place(rate: float) -> int:
        return min(columns - 1, round(math.log2(rate / first) / stride))

    top = ceiling(found)
    low = min((loss for loss in losses if math.isfinite(loss)), default=0.0)
    shown = {place(rate): loss for rate, loss in zip(rates, losses, strict=True)}
    lines: list[str] = []
    for row in range(_HEIGHT - 1, -1, -1):
        label = figure(top) if row == _HEIGHT - 1 else figure(low) if row == 0 else ""
        cells = (_column(shown[at], low, top, row) if at in shown else " " * _WIDTH for at in range(columns))
        lines.append(f"{label:>{_MARGIN - 1}} {''.join(cells)}".rstrip())
    runs = _marks(columns, {place(run.lr): HELD if run.held else BROKEN for run in found.runs})
    marks = _marks(columns, {place(found.safe_max): "m", place(found.recommended): "r"})
    ends = figure(first, 2), figure(last, 2)
    gap = " " * max(1, _WIDTH * columns - len(ends[0]) - len(ends[1]))
    named = (("runs", runs), ("", marks), ("lr", f"{ends[0]}{gap}{ends[1]}"))
    lines += [f"{name:>{_MARGIN - 1}} {text}".rstrip() for name, text in named]
    legend = (
        f"columns: loss while the rate doubles, {BROKEN} above the picture",
        f"runs: {HELD} held, {BROKEN} lost its way; r recommended, m safe maximum",
    )
    return [*lines, *(f"{'':{_MARGIN}}{line}" for line in legend)]


def _column(loss: float, low: float, top: float, row: int) -> str:
    if not math.isfinite(loss) or loss > top:
        return (BROKEN if row == _HEIGHT - 1 else " ").ljust(_WIDTH)
    filled = (loss - low) / (top - low) * _HEIGHT if top > low else 0.0
    part = min(1.0, max(0.0, filled - row))
    bar = _BARS[min(7, int(part * 8))] if part > 0 or row == 0 else " "
    return bar.ljust(_WIDTH)


def _marks(columns: int, marks: dict[int, str]) -> str:
    return "".join(marks.get(at, " ").ljust(_WIDTH) for at in range(columns))


def _runs(runs: Sequence[ShortRun]) -> Iterator[str]:
    yield "short runs at a constant rate"
    for run in runs:
        outcome = "held" if run.held else "lost its way"
        end = f"loss {figure(run.losses[0])} to {figure(run.last)}" if math.isfinite(run.last) else "broke down"
        yield f"  lr {figure(run.lr, 2):<9} {outcome:<13} {end} ({counted(len(run.losses), 'step')})"
