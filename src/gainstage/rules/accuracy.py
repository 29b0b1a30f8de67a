"""How often each rule was right, as `make accuracy` measured it on networks that no threshold was set on; no torch.

Networks with injected faults and their healthy twins were trained: a fault is a network that trains worse than its
twin. ``docs/accuracy.md`` has the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

FILE_NAME = "accuracy.json"


@dataclass(frozen=True)
class Accuracy:
    """Counts of one rule.

    Attributes:
        alarms: Networks that it warned of.
        right_alarms: Those of them that train worse than their healthy twins.
        faults: Networks that train worse through a fault that its page describes.
        found_faults: Those of them whose cause an alarm named, of this rule or of another that is equally right.
    """

    alarms: int = 0
    right_alarms: int = 0
    faults: int = 0
    found_faults: int = 0

    @property
    def precision(self) -> float | None:
        """Share of the alarms that were right; None without alarms."""
        return self.right_alarms / self.alarms if self.alarms else None

    @property
    def recall(self) -> float | None:
        """Share of the faults that were named; None without faults."""
        return self.found_faults / self.faults if self.faults else None


@lru_cache(maxsize=1)
def measured() -> Mapping[str, Accuracy]:
    """Code to its counts; rules that gave no alarm and had no fault to find are not in it."""
    text = (resources.files("gainstage.rules") / FILE_NAME).read_text(encoding="utf-8")
    return parsed(json.loads(text))


def parsed(document: Mapping[str, Any]) -> Mapping[str, Accuracy]:
    """The counts of a document such as the shipped one."""
    return {code: Accuracy(**counts) for code, counts in document["rules"].items()}
