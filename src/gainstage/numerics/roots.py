"""A root between two points of opposite sign."""

from __future__ import annotations

from collections.abc import Callable

from gainstage.errors import InputError

_MAX_STEPS = 200


def bracketed_root(function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-14) -> float:
    """Returns a root of a continuous function between two points where its signs differ.

    Regula falsi with the correction of Anderson and Björck, and a bisection whenever three such steps did
    not halve the bracket: it never leaves the bracket, and is as fast as a secant on smooth functions.

    Args:
        function: Continuous on [low, high].
        low: One end.
        high: The other end.
        tolerance: Width of the final bracket, relative to its larger end.

    Returns:
        A point at which the function is zero, or changes its sign.

    Raises:
        InputError: if the function has the same sign at both ends.

    Validity:
        One root is returned, whichever it meets first, if there are several.

    Example:
        >>> round(bracketed_root(lambda x: x * x - 2, 0.0, 2.0), 12)
        1.414213562373

    References:
        Anderson and Björck 1973, A new high order method of regula falsi type.
    """
    at_low, at_high = function(low), function(high)
    if at_low == 0 or at_high == 0:
        return low if at_low == 0 else high
    if (at_low > 0) == (at_high > 0):
        raise InputError(
            f"bracketed_root: function must change sign between low and high, got {at_low!r}, {at_high!r}. "
            "Widen the bracket."
        )
    # `last` is the newest point; `other` the end across the root, whose value the correction may shrink.
    other, at_other, last, at_last = low, at_low, high, at_high
    checkpoint = abs(high - low)
    for step in range(1, _MAX_STEPS):
        if abs(last - other) <= tolerance * max(abs(last), abs(other)):
            break
        point = last - at_last * (last - other) / (at_last - at_other)
        if step % 3 == 0:
            if abs(last - other) > checkpoint / 2:
                point = (last + other) / 2
            checkpoint = abs(last - other)
        if point in (last, other):
            point = (last + other) / 2
        at_point = function(point)
        if at_point == 0:
            return point
        if (at_point > 0) != (at_last > 0):
            other, at_other = last, at_last
        else:
            factor = 1 - at_point / at_last
            at_other *= factor if factor > 0 else 0.5
        last, at_last = point, at_point
    return last
