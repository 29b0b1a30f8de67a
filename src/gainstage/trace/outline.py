"""What a forward pass runs on which parameters, in which order, without its figures."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from gainstage.errors import SubjectError
from gainstage.seeding import preserved_rng
from gainstage.trace import call
from gainstage.trace.lazy_layers import built
from gainstage.trace.recorder import explained, shown_layers
from gainstage.trace.records import ParameterRecord, Trace
from gainstage.trace.scene import Scene, scene
from gainstage.trace.subject import Subject
from gainstage.trace.tensors import outlined_parameter


def outline(subject: Subject, *, meta: bool = True) -> Trace:
    """The layers of one forward pass on the first batch, without figures; the model is left as it was.

    The pass runs on the meta device, where nothing is computed and nothing is allocated. A model that looks at its
    values on the way, or mixes in tensors of its own, cannot run there, and is run as it is.

    Args:
        subject: Its targets and loss are not read, unless it has a ``forward`` of its own.
        meta: Try the meta device first. A small network on a small batch is sooner run than followed there.

    Returns:
        A trace whose figures are None, or 0 for parameters; its loss is NaN.

    Raises:
        SubjectError: if the batch does not fit the model.
    """
    with preserved_rng():
        batch = subject.batches.first()
        subject = built(subject, batch)
    if next((parameter.is_meta for parameter in subject.model.parameters()), False):
        return _outlined(subject, batch, meta=True, gradients=True)
    if meta:
        with suppress(Exception):
            return _outlined(subject, batch, meta=True, gradients=True)
    try:
        return _outlined(subject, batch, meta=False, gradients=False)
    except SubjectError:
        # A model that differentiates something on its way needs gradients, and the memory that they take.
        return _outlined(subject, batch, meta=False, gradients=True)


def _outlined(subject: Subject, batch: Any, *, meta: bool, gradients: bool) -> Trace:
    originals = dict(subject.model.named_parameters())
    with scene(subject, batch, backward=gradients, measuring=False, meta=meta) as stage:
        with stage.mode, explained("the model must accept the batch", stage.mode):
            run_forward(subject, stage)
        used = stage.mode.used
        parameters: tuple[ParameterRecord, ...] = tuple(
            outlined_parameter(name, parameter, used=name in used) for name, parameter in originals.items()
        )
        layers = shown_layers(stage.mode, stage.batch_size, {record.name: record for record in parameters})
    return Trace(
        layers=layers, loss=float("nan"), name=subject.name, training=subject.model.training, backward=False,
        parameters=parameters,
    )  # fmt: skip


def run_forward(subject: Subject, stage: Scene) -> None:
    """The forward pass of the subject's own kind, for what it does on the way."""
    if subject.forward is not None:
        subject.forward(subject.model, stage.batch)
        return
    unpacked = call.unpack(stage.batch)
    subject.model(*unpacked.args, **unpacked.kwargs)
