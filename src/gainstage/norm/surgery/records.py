"""What an operation on a model did: the model, every change, and everything left with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

NAMES_SHOWN = 4


@dataclass(frozen=True)
class Change:
    """One module that was changed.

    Attributes:
        module: Dotted path; "" is the root.
        what: What happened to it, such as ``BatchNorm2d -> GroupNorm``.
        note: What else is worth knowing, or "".
    """

    module: str
    what: str
    note: str = ""


@dataclass(frozen=True)
class Left:
    """One module, or operation in a module, that was left as it was.

    Attributes:
        module: Dotted path; "" is the root.
        what: Its class, or the function that it calls.
        reason: Why.
    """

    module: str
    what: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Surgery:
    """What an operation did.

    Attributes:
        operation: Its name.
        model: The new model; the one that was given if it was changed in place.
        changed, left: Together everything that the operation is about.
        notes: What holds for the whole, one line each.
    """

    operation: str
    model: nn.Module = field(repr=False)
    changed: tuple[Change, ...] = ()
    left: tuple[Left, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*self.heading(), *self.closing()])

    def heading(self) -> list[str]:
        """What was changed, alike changes in one line."""
        lines = [f"{self.operation}: {len(self.changed)} changed, {len(self.left)} left"]
        for (what, note), paths in grouped((c.what, c.note, c.module) for c in self.changed):
            lines.append(f"  {what}: {listed(paths)}" + (f"; {note}" if note else ""))
        return lines

    def closing(self) -> list[str]:
        """What was left and why, and the notes."""
        lines = [f"  left {what}: {listed(paths)}: {reason}"
                 for (what, reason), paths in grouped((x.what, x.reason, x.module) for x in self.left)]  # fmt: skip
        return [*lines, *(f"  {note}" for note in self.notes)]

    __repr__ = __str__


def grouped(entries: Iterable[tuple[str, str, str]]) -> Iterable[tuple[tuple[str, str], list[str]]]:
    """The last of each entry by the first two, in order of first appearance."""
    found: dict[tuple[str, str], list[str]] = {}
    for first, second, path in entries:
        found.setdefault((first, second), []).append(path)
    return found.items()


def listed(paths: Sequence[str]) -> str:
    """The first few paths, and how many there are if there are more."""
    shown = ", ".join(path or "(root)" for path in paths[:NAMES_SHOWN])
    return shown if len(paths) <= NAMES_SHOWN else f"{shown}, ... ({len(paths)})"
