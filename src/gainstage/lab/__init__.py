"""The lab: what the literature claims about initialization and normalization, measured again and judged.

Listing the claims needs no torch; the runner is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gainstage.lab.catalogue import CLAIMS
from gainstage.lab.catalogue.confrontations import CONFRONTATIONS
from gainstage.lab.claim import Claim
from gainstage.lab.confrontation import Confrontation
from gainstage.lab.hearing import Hearing
from gainstage.lab.published_verdicts import published
from gainstage.lab.verdict import Verdict
from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.lab.compare import Comparison, diff, hearings, verdicts
    from gainstage.lab.runner import run, run_all

__all__ = [
    "Claim", "Comparison", "Confrontation", "Hearing", "Verdict", "claims", "confrontations", "diff", "hearings",
    "published", "run", "run_all", "verdicts",
]  # fmt: skip

__getattr__ = lazy_attributes(
    __name__,
    {
        "Comparison": "gainstage.lab.compare",
        "diff": "gainstage.lab.compare",
        "hearings": "gainstage.lab.compare",
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


def confrontations() -> tuple[Confrontation[Any], ...]:
    """Statements that seem to exclude each other, each to be measured on the same networks."""
    return CONFRONTATIONS
