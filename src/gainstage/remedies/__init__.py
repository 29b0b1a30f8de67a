"""Floor 4, what mends a finding: pure functions from a `Subject` to a new `Subject`, named by a `Fix`.

A remedy copies the subject and changes the copy. Its options are plain data, so that a `Fix` can be compared,
printed and serialised; rules name remedies without importing them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes
from gainstage.remedies.fix import Fix

if TYPE_CHECKING:
    from gainstage.remedies.model import drop_bias, drop_output_activation, reinitialize, to_train_mode
    from gainstage.remedies.standardise import standardise_inputs

__all__ = ["Fix", "drop_bias", "drop_output_activation", "reinitialize", "standardise_inputs", "to_train_mode"]

_MODEL = "gainstage.remedies.model"
__getattr__ = lazy_attributes(
    __name__,
    {
        "drop_bias": _MODEL,
        "drop_output_activation": _MODEL,
        "reinitialize": _MODEL,
        "standardise_inputs": "gainstage.remedies.standardise",
        "to_train_mode": _MODEL,
    },
)
