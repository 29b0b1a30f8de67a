"""`Fault`: an operator that injects one fault, and the codes that name its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from accuracy.setup import Setup

Level = Literal["mild", "moderate", "gross"]
LEVELS: tuple[Level, ...] = get_args(Level)
Inject = Callable[[Setup, Any], "Setup | None"]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        names: Codes of the rules that name its cause, the one whose page describes it first. They follow from what is
            injected, and were written down before any result was seen.
        levels: What ``inject`` is given at each level of severity.
        meant: Levels at which users do the same on purpose, so that a check may tell of it and must not warn.
        inject: Changes a setup in place or returns a changed one; None where the fault does not apply.
    """

    name: str
    names: tuple[str, ...]
    levels: dict[Level, Any]
    inject: Inject
    meant: tuple[Level, ...] = ()

    @property
    def rule(self) -> str:
        return self.names[0]


def fault(
    name: str, names: str, *, mild: Any = None, moderate: Any = None, gross: Any = None, meant: tuple[Level, ...] = ()
) -> Callable[[Inject], Fault]:
    """Turns a function into a `Fault`; a level without a parameter does not exist."""
    given = {"mild": mild, "moderate": moderate, "gross": gross}
    levels: dict[Level, Any] = {level: given[level] for level in LEVELS if given[level] is not None}
    return lambda inject: Fault(name, tuple(names.split()), levels, inject, meant)
