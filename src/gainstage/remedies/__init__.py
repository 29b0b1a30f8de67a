"""What mends a finding: pure functions from a `Subject` to a new `Subject`, named by a `Fix`."""

from __future__ import annotations

from gainstage.lazy import lazy_attributes
from gainstage.remedies.fix import Fix

__all__ = ["Fix"]

__getattr__ = lazy_attributes(__name__, {})
