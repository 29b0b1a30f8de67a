"""gainstage: find out why a PyTorch network does not train, mend it, and prove that it is mended.

Everything public is reachable from here and imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes
from gainstage.version import __version__

if TYPE_CHECKING:
    from gainstage import lab, landscape, norm, schemes, sweep, theory
    from gainstage.api import assert_trainable, check
    from gainstage.diagnosis.records import Trial
    from gainstage.diagnosis.verify import verify
    from gainstage.errors import GainstageError, NotTrainable
    from gainstage.remedies.fix import Fix
    from gainstage.report.document import Report
    from gainstage.rules.base import Finding, NotAssessed
    from gainstage.schemes.initialize import InitReport, initialize
    from gainstage.trace.recorder import record
    from gainstage.trace.records import LayerRecord, Trace
    from gainstage.trace.subject import Subject

_HOMES = {
    "Finding": "gainstage.rules.base",
    "Fix": "gainstage.remedies.fix",
    "GainstageError": "gainstage.errors",
    "InitReport": "gainstage.schemes.initialize",
    "LayerRecord": "gainstage.trace.records",
    "NotAssessed": "gainstage.rules.base",
    "NotTrainable": "gainstage.errors",
    "Report": "gainstage.report.document",
    "Subject": "gainstage.trace.subject",
    "Trace": "gainstage.trace.records",
    "Trial": "gainstage.diagnosis.records",
    "assert_trainable": "gainstage.api",
    "check": "gainstage.api",
    "initialize": "gainstage.schemes.initialize",
    "lab": "gainstage.lab",
    "landscape": "gainstage.landscape",
    "norm": "gainstage.norm",
    "record": "gainstage.trace.recorder",
    "schemes": "gainstage.schemes",
    "sweep": "gainstage.sweep",
    "theory": "gainstage.theory",
    "verify": "gainstage.diagnosis.verify",
}

__all__ = [
    "Finding",
    "Fix",
    "GainstageError",
    "InitReport",
    "LayerRecord",
    "NotAssessed",
    "NotTrainable",
    "Report",
    "Subject",
    "Trace",
    "Trial",
    "__version__",
    "assert_trainable",
    "check",
    "initialize",
    "lab",
    "landscape",
    "norm",
    "record",
    "schemes",
    "sweep",
    "theory",
    "verify",
]

__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
