"""The claims: text, numbers, judges and figures. `CLAIMS` is the only registry; none of it needs torch."""

from __future__ import annotations

from typing import Any

from gainstage.errors import UnknownNameError
from gainstage.lab.catalogue import he_variance, lemma_4_5, scale_invariance
from gainstage.lab.claim import Claim

CLAIMS: tuple[Claim[Any], ...] = (
    he_variance.CLAIM,
    scale_invariance.CLAIM,
    lemma_4_5.CLAIM,
)


def find(claim_id: str, operation: str) -> Claim[Any]:
    """The claim of that id.

    Raises:
        UnknownNameError: if there is none; the nearest is suggested.
    """
    known = {claim.id: claim for claim in CLAIMS}
    if claim_id not in known:
        raise UnknownNameError(operation, "claim", claim_id, known)
    return known[claim_id]
