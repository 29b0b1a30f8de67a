"""Checks of numeric arguments: each message says operation, constraint, value and next step."""

from __future__ import annotations

import math

from gainstage.errors import InputError


def require_positive(operation: str, name: str, value: float, next_step: str) -> float:
    """Returns ``value`` as a float if it is finite and above zero.

    Args:
        operation: The public function, as the user knows it.
        name: The argument.
        value: What was given.
        next_step: One sentence that says what to hand in instead.

    Raises:
        InputError: if ``value`` is zero, negative, infinite or NaN.

    Example:
        >>> require_positive("he_gain", "q", 2, "Give a variance.")
        2.0
    """
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{operation}: {name} must be positive and finite, got {value!r}. {next_step}")
    return float(value)


def require_non_negative(operation: str, name: str, value: float, next_step: str) -> float:
    """Returns ``value`` as a float if it is finite and not below zero.

    Args:
        operation: The public function, as the user knows it.
        name: The argument.
        value: What was given.
        next_step: One sentence that says what to hand in instead.

    Raises:
        InputError: if ``value`` is negative, infinite or NaN.

    Example:
        >>> require_non_negative("q_map", "bias_var", 0, "Give a variance.")
        0.0
    """
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{operation}: {name} must be finite and at least 0, got {value!r}. {next_step}")
    return float(value)


def require_within(
    operation: str, name: str, value: float, low: float, high: float, next_step: str, *, closed: bool = True
) -> float:
    """Returns ``value`` as a float if it lies in [low, high], or in (low, high) where ``closed`` is False.

    Args:
        operation: The public function, as the user knows it.
        name: The argument.
        value: What was given.
        low: The lower end.
        high: The upper end.
        next_step: One sentence that says what to hand in instead.
        closed: Whether the ends belong to the range.

    Raises:
        InputError: if ``value`` lies outside, or is NaN.

    Example:
        >>> require_within("c_map", "c", -1, -1, 1, "Give a correlation.")
        -1.0
    """
    inside = low <= value <= high if closed else low < value < high
    if not inside:
        interval = f"[{low:g}, {high:g}]" if closed else f"({low:g}, {high:g})"
        raise InputError(f"{operation}: {name} must be in {interval}, got {value!r}. {next_step}")
    return float(value)
