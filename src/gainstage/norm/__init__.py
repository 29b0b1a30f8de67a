"""Floor 3, normalization: what torch lacks, and surgery on the norms of existing models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
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
    "recalibrate",
    "replace",
    "split_parameters",
    "to_sync",
    "unfreeze",
]

__getattr__ = lazy_attributes(__name__, dict.fromkeys(_SURGERY, "gainstage.norm.surgery"))
