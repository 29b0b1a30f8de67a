"""What `initialize` did, as a record and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.schemes.planner import Plan
from gainstage.schemes.prediction import Prediction

NAMES_SHOWN = 4


@dataclass(frozen=True)
class Row:
    """One initialized layer: its plan, and what became of its weights and its level.

    Attributes:
        layer: Name in the trace.
        follows: The activation behind it, ``none`` without.
        scheme: The scheme's name.
        fan_in, fan_out: Of one output unit, per group and per packed projection.
        target: What was asked for: of the weights' standard deviation (their root mean square if they are not
            centred), or of the rms of the layer's output where a batch sets it.
        before, after: The same quantity, as it was and as it is; the rms as drawn and as scaled. None if the layer
            was not reached.
        quantity: ``std`` or ``rms``: which of both these three are.
        rms_before, rms_after: rms of the layer's output, at the old weights and at the new ones, if ``std``.
        note: What else decided, one line, or "".
    """

    layer: str
    follows: str
    scheme: str
    fan_in: float
    fan_out: float
    target: float
    before: float | None
    after: float | None
    rms_before: float | None = None
    rms_after: float | None = None
    quantity: str = "std"
    note: str = ""


@dataclass(frozen=True, repr=False)
class InitReport:
    """What `initialize` did; ``initialized`` and ``untouched`` together name every parameter once.

    Attributes:
        initialized: Full paths of the parameters that were set.
        untouched: (full path, reason) of the others.
        rows: One a layer, in order of execution.
    """

    initialized: tuple[str, ...]
    untouched: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return "\n".join([*_table(self.rows), *self.closing()])

    def closing(self) -> list[str]:
        """What stands below the table: notes, how many parameters were set, and why the others were not."""
        lines = [f"  {_named(row)}: {row.note}" for row in self.rows if row.note]
        if not self.untouched:
            return [*lines, f"{len(self.initialized)} parameters initialized, all."]
        lines.append(f"{len(self.initialized)} parameters initialized, {len(self.untouched)} left as they were:")
        reasons: dict[str, list[str]] = {}
        for name, reason in self.untouched:
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            more = ", ..." if len(names) > NAMES_SHOWN else ""
            lines.append(f"  {', '.join(names[:NAMES_SHOWN])}{more}: {reason}")
        return lines

    __repr__ = __str__


def _table(rows: tuple[Row, ...]) -> list[str]:
    width = max([5, *(len(_named(row)) for row in rows)])
    scheme = max([15, *(len(row.scheme) for row in rows)])
    scaled = any(row.quantity == "rms" for row in rows)
    head = f"{'layer':<{width}}  {'followed by':<12} {'scheme':<{scheme}} "
    head += f"{'rms drawn':>10} {'scaled':>9} {'asked for':>11}" if scaled else f"{'std before':>10} {'after':>9} "
    lines = [head if scaled else head + f"{'rms before':>11} {'after':>9}"]
    for row in rows:
        figures = (
            (row.before, row.after, row.target) if scaled else (row.before, row.after, row.rms_before, row.rms_after)
        )
        shown = ["-" if value is None else f"{value:.3g}" for value in figures]
        cells = [f"{cell:>{size}}" for cell, size in zip(shown, (10, 9, 11, 9), strict=False)]
        lines.append(f"{_named(row):<{width}}  {row.follows:<12} {row.scheme:<{scheme}} {' '.join(cells)}")
    return lines


def _named(row: Row | Plan) -> str:
    return row.layer or "(root)"


def plan_table(plans: Sequence[Plan]) -> str:
    """What is planned, a line each, and why it is not the usual."""
    width = max([5, *(len(_named(entry)) for entry in plans)])
    scheme = max([15, *(len(entry.scheme.name) for entry in plans)])
    lines = [f"{'layer':<{width}}  {'followed by':<12} {'scheme':<{scheme}} {'fan in':>8} {'fan out':>8} {'std':>10}"]
    for entry in plans:
        fans = f"{entry.fan_in:>8g} {entry.fan_out:>8g}"
        name, std = entry.scheme.name, entry.variance**0.5
        lines.append(f"{_named(entry):<{width}}  {entry.follows:<12} {name:<{scheme}} {fans} {std:>10.3g}")
    return "\n".join([*lines, *(f"  {_named(entry)}: {entry.note}" for entry in plans if entry.note)])


def level_table(rows: Sequence[Row], before: Sequence[Prediction], after: Sequence[Prediction]) -> str:
    """The level of each layer's output before and after, as theory predicts it and as it was measured.

    Args:
        rows: Of what was initialized.
        before, after: `predict` of a trace from before and from after.
    """
    width = max([5, *(len(_named(row)) for row in rows)])
    scheme = max([15, *(len(row.scheme) for row in rows)])
    head = f"{'layer':<{width}}  {'followed by':<12} {'scheme':<{scheme}} "
    lines = [head + f"{'before: predicted':>18} {'measured':>9} {'after: predicted':>17} {'measured':>9}"]
    then, now = ({found.layer: found for found in predictions} for predictions in (before, after))
    for row in rows:
        levels = [
            (found.rms, found.measured) if found else (None, None)
            for found in (then.get(row.layer), now.get(row.layer))
        ]
        cells = ["-" if value is None else f"{value:.3g}" for pair in levels for value in pair]
        cells = [f"{cell:>{size}}" for cell, size in zip(cells, (18, 9, 17, 9), strict=True)]
        lines.append(f"{_named(row):<{width}}  {row.follows:<12} {row.scheme:<{scheme}} {' '.join(cells)}")
    return "\n".join(lines)
