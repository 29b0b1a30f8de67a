"""Surgery on existing models: norms replaced, folded, frozen, recalibrated and examined.

Every operation works on a copy unless told ``inplace=True``, and says what it changed, what it left, and why.
"""

from gainstage.norm.surgery.auditing import Audit, NormAudit, audit
from gainstage.norm.surgery.biases import drop_redundant_biases
from gainstage.norm.surgery.calibration import Recalibrated, Statistics, recalibrate
from gainstage.norm.surgery.folding import Folded, fold
from gainstage.norm.surgery.freezing import freeze, unfreeze
from gainstage.norm.surgery.inserting import insert
from gainstage.norm.surgery.parameters import ParameterGroups, split_parameters
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.replacing import from_sync, replace, to_sync
from gainstage.norm.surgery.targets import ChannelLayerNorm

__all__ = [
    "Audit",
    "Change",
    "ChannelLayerNorm",
    "Folded",
    "Left",
    "NormAudit",
    "ParameterGroups",
    "Recalibrated",
    "Statistics",
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
