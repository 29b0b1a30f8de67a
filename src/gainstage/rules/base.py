"""What every rule is made of: `Finding`, `NotAssessed`, `Threshold`, `Example` and `Rule`.

A rule is a pure function of a `Trace`. It yields findings, or a `NotAssessed` where an input that it needs is
missing; it never touches a module. This module needs no torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gainstage.remedies.fix import Fix
from gainstage.trace.records import Trace

Severity = Literal["error", "warning", "info"]
Cause = Literal[
    "init", "activation", "loss", "normalization", "learning-rate", "optimizer", "batch-size", "data", "depth",
    "precision", "wiring",
]  # fmt: skip
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
Status = Literal["stable", "preview"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with the evidence.

    Attributes:
        code, name: Of the rule.
        cause: Of the rule, or of the case where that is another: a last rectifier is a matter of the activation.
        module: Dotted path of the module where it begins; ``""`` is the root.
        message: What is wrong here, one sentence with the measured figures.
        why: Why it hurts, one sentence for someone who does not know the field.
        advice: What to do, one sentence.
        value, threshold: The measured figure, and the limit that it crossed, in the same unit.
        evidence: Further figures by name.
        fix: What would mend it, if gainstage can.
        claims: Ids of the lab's claims that support the rule.
        layers: Names of all layers that are concerned, in execution order.
        consequence_of: Code of the finding that explains this one, or None for a root cause.
    """

    code: str
    name: str
    severity: Severity
    cause: Cause
    module: str
    message: str
    why: str = ""
    advice: str = ""
    value: float | None = None
    threshold: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])
    fix: Fix | None = None
    claims: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    consequence_of: str | None = None


@dataclass(frozen=True)
class NotAssessed:
    """A rule that could not judge, and why."""

    code: str
    reason: str


@dataclass(frozen=True)
class Threshold:
    """A limit with its unit and where it comes from."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Example:
    """Source text that defines ``subject``; tests run it, pages show it."""

    source: str


Check = Callable[[Trace], Iterator["Finding | NotAssessed"]]


@dataclass(frozen=True)
class Rule:
    """A rule of the catalogue.

    Attributes:
        severities: Those that it can report, gravest first.
        summary: First line of its page.
        page: The docstring: What / Why it hurts / How measured / When it is a false alarm / Fix / References.
        explains: Codes that are consequences of this one where both fire.
        status: ``stable``; ``preview`` where a limit that it warns by was not held against networks that it was not set
            on, so that it may move. Codes and their meaning stay in either case.
        check: The pure function.
    """

    code: str
    name: str
    severities: tuple[Severity, ...]
    cause: Cause
    summary: str
    page: str
    check: Check
    bad: Example
    good: Example
    thresholds: tuple[Threshold, ...] = ()
    claims: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    status: Status = "stable"

    @property
    def slug(self) -> str:
        """``INI002-gain-mismatch``, for file names and anchors."""
        return f"{self.code}-{self.name}"


SECTIONS = ("What", "Why it hurts", "How measured", "When it is a false alarm", "Fix", "References")


def rule(
    code: str,
    name: str,
    *,
    severities: tuple[Severity, ...],
    cause: Cause,
    bad: str,
    good: str,
    thresholds: tuple[Threshold, ...] = (),
    claims: tuple[str, ...] = (),
    explains: tuple[str, ...] = (),
    status: Status = "stable",
) -> Callable[[Check], Rule]:
    """Turns a check function with a docstring of `SECTIONS` into a `Rule`.

    Raises:
        ValueError: if the docstring lacks a section, at import time: an incomplete rule cannot be shipped.
    """

    def wrap(check: Check) -> Rule:
        page = inspect.getdoc(check) or ""
        missing = [s for s in SECTIONS if not re.search(rf"^{s}:", page, flags=re.MULTILINE)]
        if missing:
            raise ValueError(f"rule {code}: the docstring must have the sections {missing}")
        examples = Example(inspect.cleandoc(bad)), Example(inspect.cleandoc(good))
        return Rule(
            code, name, severities, cause, page.partition("\n")[0], page, check, *examples,
            thresholds=thresholds, claims=claims, explains=explains, status=status,
        )  # fmt: skip

    return wrap


def counted(count: int, noun: str) -> str:
    """``1 layer``, ``24 layers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


SHOWN = 3


def some(names: Sequence[str]) -> str:
    """The first few of the names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def loss_name(trace: Trace) -> str:
    """What the loss is called; empty without one."""
    return trace.loss_record.name if trace.loss_record is not None else ""
