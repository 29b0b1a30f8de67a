"""The lab: what the literature claims about initialization and normalization, measured again and judged.

Listing the claims needs no torch; the runner is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gainstage.lab.catalogue import CLAIMS
from gainstage.lab.claim import Claim
from gainstage.lab.verdict import Verdict
from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.lab.runner import run

__all__ = ["Claim", "Verdict", "claims", "run"]

__getattr__ = lazy_attributes(__name__, {"run": "gainstage.lab.runner"})


def claims() -> tuple[Claim[Any], ...]:
    """All claims that the lab can run, in the order of their groups.

    Returns:
        The registry; each has ``id``, ``statement``, ``source`` and ``prediction``.

    Example:
        >>> [claim.id for claim in claims()]
        ['he-variance', 'scale-invariance', 'lemma-4-5']
    """
    return CLAIMS
