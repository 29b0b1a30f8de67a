"""The claims: text, numbers, judges and figures, a folder for each group. None of it needs torch.

`CLAIMS` is the only registry: each group's ``__init__`` lists its own, in the order in which they are read.
"""

from __future__ import annotations

from typing import Any

from gainstage.errors import UnknownNameError
from gainstage.lab.catalogue import depth, how_it_helps, initialization, normalization, numbers
from gainstage.lab.claim import Claim

CLAIMS: tuple[Claim[Any], ...] = (
    *initialization.CLAIMS,
    *normalization.CLAIMS,
    *how_it_helps.CLAIMS,
    *depth.CLAIMS,
    *numbers.CLAIMS,
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
