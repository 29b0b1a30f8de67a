"""What a forward pass runs on which parameters, in which order, without its figures."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gainstage.errors import SubjectError
from gainstage.seeding import preserved_rng
from gainstage.trace import call
from gainstage.trace.lazy_layers import built
from gainstage.trace.recorder import explained, shown_layers
from gainstage.trace.records import LossRecord, ParameterRecord, Trace
from gainstage.trace.scene import Scene, scene
from gainstage.trace.subject import Subject
from gainstage.trace.tensors import outlined_parameter

# Samples that an outline is content with.
FEW = 2


def outline(subject: Subject, *, meta: bool = True) -> Trace:
    """The layers of one forward pass on the first batch, without figures; the model is left as it was.

    The pass runs on the meta device, where nothing is computed and nothing is allocated. A model that looks at its
    values on the way, or mixes in tensors of its own, cannot run there, and is run as it is.

    Args:
        subject: Its loss is outlined too, where it accepts the outputs and there are targets.
        meta: Try the meta device first. Otherwise a few of the samples are run: a small network is sooner run than
            followed there.

    Returns:
        A trace whose figures are None, or 0 for parameters; its loss is NaN, and its ``loss_record`` None where there
        is no loss.

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
    else:
        with suppress(Exception):
            return _outlined(subject, _few(batch), meta=False, gradients=False)
    try:
        return _outlined(subject, batch, meta=False, gradients=False)
    except SubjectError:
        # A model that differentiates something on its way needs gradients, and the memory that they take.
        return _outlined(subject, batch, meta=False, gradients=True)


def _few(batch: Any) -> Any:
    """An eighth of the samples, where there are many: what runs does not depend on how many there are."""
    tensors = [tensor for _, tensor in call.tensors_of(batch) if tensor.ndim]
    count = len(tensors[0]) if tensors else 0
    if count < 2 * FEW:
        return batch
    few = max(FEW, count // 8)
    return pytree.tree_map_only(torch.Tensor, lambda t: t[:few] if t.ndim and len(t) == count else t, call.plain(batch))


def _outlined(subject: Subject, batch: Any, *, meta: bool, gradients: bool) -> Trace:
    originals = dict(subject.model.named_parameters())
    with scene(subject, batch, backward=gradients, measuring=False, meta=meta) as stage:
        with stage.mode, explained("the model must accept the batch", stage.mode):
            outputs = run_forward(subject, stage)
            loss = _outlined_loss(subject, stage, outputs)
        used = stage.mode.used
        parameters: tuple[ParameterRecord, ...] = tuple(
            outlined_parameter(name, parameter, used=name in used) for name, parameter in originals.items()
        )
        layers = shown_layers(stage.mode, stage.batch_size, {record.name: record for record in parameters})
    return Trace(
        layers=layers, loss=float("nan"), name=subject.name, training=subject.model.training, backward=False,
        parameters=parameters, loss_record=loss,
    )  # fmt: skip


def _outlined_loss(subject: Subject, stage: Scene, outputs: Any) -> LossRecord | None:
    """What the loss does; None where there is none, or where it fails, as one that reads values does here."""
    name, chosen = "forward", False
    if subject.forward is None:
        with suppress(Exception):
            name, chosen, compute = call.choose_loss(subject, outputs, call.unpack(stage.batch).targets)
            compute()
    if name == "surrogate" or not stage.mode.loss_ops:
        return None
    origin = stage.mode.loss_origin
    read = origin.layers[-1] if origin is not None and origin.layers else None
    return LossRecord(name, chosen, tuple(stage.mode.loss_ops), read, origin.via if origin is not None else ())


def run_forward(subject: Subject, stage: Scene) -> Any:
    """The forward pass of the subject's own kind: the outputs, or the loss where it has a ``forward`` of its own."""
    if subject.forward is not None:
        return subject.forward(subject.model, stage.batch)
    unpacked = call.unpack(stage.batch)
    return subject.model(*unpacked.args, **unpacked.kwargs)
