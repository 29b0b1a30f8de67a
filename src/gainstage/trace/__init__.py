"""Running a model and turning the run into an immutable, serialisable `Trace`.

The only home of dispatch modes and hooks. The records are importable without torch; the recorder is imported
when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes
from gainstage.trace.records import LayerRecord, NormRecord, ParameterRecord, TensorRecord, Trace

if TYPE_CHECKING:
    from gainstage.trace.recorder import record
    from gainstage.trace.subject import Subject

__all__ = ["LayerRecord", "NormRecord", "ParameterRecord", "Subject", "TensorRecord", "Trace", "record"]

__getattr__ = lazy_attributes(__name__, {"record": "gainstage.trace.recorder", "Subject": "gainstage.trace.subject"})
