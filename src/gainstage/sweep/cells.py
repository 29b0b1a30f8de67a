"""A cell is one training run of a sweep, a row what came of it; both are plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One training run.

    Attributes:
        key: A hash of the values: the same on every machine, in every process and for every order of names.
        values: Name to value, of everything that the specification sets.

    Example:
        >>> Cell.of({"lr": 0.1, "seed": 3}).key == Cell.of({"seed": 3, "lr": 0.1}).key
        True
    """

    key: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Cell:
        """The cell of these values.

        Args:
            values: Numbers, texts, booleans, None, and lists or mappings of these.
        """
        return cls(content_hash(dict(values)), dict(values))


@dataclass(frozen=True)
class Row:
    """What came of a cell.

    Attributes:
        key, values: The cell's.
        steps: At which the curves are measured: the number of updates made before.
        curves: Metric to one value for each of the steps; nan after the run diverged.
        diverged_at: Updates made when the loss on the next batch broke the stop rule or was not finite; None if
            that never happened.
        error: Why the cell could not be run, in one line; its curves are empty then.
        mode: ``vectorised`` or ``looped``: how it was computed. Results do not depend on it beyond rounding.
    """

    key: str
    values: Mapping[str, Any]
    steps: tuple[int, ...] = ()
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    diverged_at: int | None = None
    error: str | None = None
    mode: str = ""


def content_hash(content: Any) -> str:
    """Sixteen hexadecimal digits that depend on the content alone.

    Args:
        content: What JSON can hold. Tuples count as lists; 1 and 1.0 differ.

    Raises:
        TypeError: if it holds anything else.

    Example:
        >>> content_hash({"a": 1, "b": [2.5]}) == content_hash({"b": (2.5,), "a": 1})
        True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
