"""The verdicts that ship with the package: what `explain` and the rules show without running anything.

``gainstage lab run --all`` made them; `scripts` of the repository write them, and a test holds each to the fingerprint
of the claim as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import resources

from gainstage.lab.verdict import Verdict

FILE_NAME = "published.json"


@lru_cache(maxsize=1)
def published() -> Mapping[str, Verdict]:
    """Claim id to its verdict at the quick preset, without rows.

    Example:
        >>> published()["lemma-4-5"].outcome
        'refuted'
    """
    path = resources.files("gainstage.lab") / FILE_NAME
    if not path.is_file():
        return {}
    found = [Verdict.from_json(json.dumps(entry)) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return {verdict.claim_id: verdict for verdict in found}


def spelled(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as the shipped file has them: one a line, without rows and times of day."""
    lines = [replace(verdict, rows=(), seconds=round(verdict.seconds, 1)).to_json() for verdict in verdicts]
    return "[\n" + ",\n".join(lines) + "\n]\n"
