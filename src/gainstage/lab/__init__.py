"""The lab: what the literature claims about initialization and normalization, measured again and judged.

Listing the claims needs no torch; the runner is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gainstage.lab.catalogue import CLAIMS
from gainstage.lab.claim import Claim
from gainstage.lab.published import published
from gainstage.lab.verdict import Verdict
from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.lab.compare import Comparison, diff, verdicts
    from gainstage.lab.runner import run, run_all

__all__ = ["Claim", "Comparison", "Verdict", "claims", "diff", "published", "run", "run_all", "verdicts"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Comparison": "gainstage.lab.compare",
        "diff": "gainstage.lab.compare",
        "run": "gainstage.lab.runner",
        "run_all": "gainstage.lab.runner",
        "verdicts": "gainstage.lab.compare",
    },
)


def claims() -> tuple[Claim[Any], ...]:
    """All claims that the lab can run, in the order of their groups.

    Returns:
        The registry; each has ``id``, ``statement``, ``source`` and ``prediction``.

    Example:
        >>> claims()[-1].group
        'numbers'
    """
    return CLAIMS
