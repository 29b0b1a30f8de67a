"""Floor 3, normalization: layers that torch lacks, slow references of it all, and surgery on existing models.

Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.norm import layers, reference
    from gainstage.norm.surgery import (
        Audit,
        ChannelLayerNorm,
        Folded,
        ParameterGroups,
        Recalibrated,
        Surgery,
        audit,
        drop_redundant_biases,
        fold,
        freeze,
        from_sync,
        insert,
        recalibrate,
        replace,
        split_parameters,
        to_sync,
        unfreeze,
    )

_SURGERY = (
    "Audit", "ChannelLayerNorm", "Folded", "ParameterGroups", "Recalibrated", "Surgery", "audit",
    "drop_redundant_biases", "fold", "freeze", "from_sync", "insert", "recalibrate", "replace", "split_parameters",
    "to_sync", "unfreeze",
)  # fmt: skip

__all__ = [
    "Audit",
    "ChannelLayerNorm",
    "Folded",
    "ParameterGroups",
    "Recalibrated",
    "Surgery",
    "audit",
    "drop_redundant_biases",
    "fold",
    "freeze",
    "from_sync",
    "insert",
    "layers",
    "recalibrate",
    "reference",
    "replace",
    "split_parameters",
    "to_sync",
    "unfreeze",
]

_HOMES = {
    **dict.fromkeys(_SURGERY, "gainstage.norm.surgery"),
    "layers": "gainstage.norm.layers",
    "reference": "gainstage.norm.reference",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
