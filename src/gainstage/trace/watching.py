"""Looking at layers' outputs, and at the terms of sums, while they pass: for figures that no recording holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gainstage.errors import SubjectError
from gainstage.seeding import preserved_rng
from gainstage.trace.drafting import Call
from gainstage.trace.lazy_layers import built
from gainstage.trace.mode import RecordingMode
from gainstage.trace.outline import run_forward
from gainstage.trace.provenance import Origin
from gainstage.trace.recorder import explained, shown_layers
from gainstage.trace.records import LayerRecord
from gainstage.trace.scene import scene
from gainstage.trace.subject import Subject
from gainstage.trace.tensors import outlined_parameter


@dataclass(frozen=True)
class Seen:
    """One layer's output as it passes; to be reduced at once, for the model may write to it later.

    Attributes:
        position: In the layers' order of execution.
        output: Of this layer.
        unit_dim: The dimension of its units (channels), None if unknown.
        terms: Of a sum of two signals: what was added, each with the positions of the layers that it comes from.
    """

    position: int
    output: torch.Tensor
    unit_dim: int | None
    terms: tuple[tuple[torch.Tensor, tuple[int, ...]], ...] = ()


def watched(subject: Subject, watcher: Callable[[Seen], None]) -> tuple[LayerRecord, ...]:
    """Runs one forward pass on the first batch and shows each layer's output; the model is left as it was.

    Args:
        subject: Whose model runs.
        watcher: Is shown each output. Again if an operation behind it turns out to belong to the layer (a bias):
            the last time counts.

    Returns:
        The layers, without figures.

    Raises:
        SubjectError: if the batch does not fit the model.
    """
    with preserved_rng():
        batch = subject.batches.first()
        subject = built(subject, batch)
    try:
        return _watched(subject, batch, watcher, gradients=False)
    except SubjectError:
        # A model that differentiates something on its way needs gradients.
        return _watched(subject, batch, watcher, gradients=True)


def _watched(
    subject: Subject, batch: object, watcher: Callable[[Seen], None], *, gradients: bool
) -> tuple[LayerRecord, ...]:
    originals = dict(subject.model.named_parameters())
    with scene(subject, batch, backward=gradients, measuring=False) as stage:
        mode = stage.mode

        def look(call: Call, output: torch.Tensor, origin: Origin) -> None:
            _show(mode, watcher, call, output.detach(), origin)

        mode.watcher = look
        with mode, explained("the model must accept the batch", mode):
            run_forward(subject, stage)
        records = {name: outlined_parameter(name, parameter, used=True) for name, parameter in originals.items()}
        return shown_layers(mode, stage.batch_size, records)


def _show(
    mode: RecordingMode, watcher: Callable[[Seen], None], call: Call, output: torch.Tensor, origin: Origin
) -> None:
    for position in origin.layers:
        draft = mode.drafts[position]
        terms = _terms(call, output) if draft.spec.role == "add" and not draft.parameters else ()
        watcher(Seen(position, draft.own(output), draft.unit_dim, terms))


def _terms(call: Call, output: torch.Tensor) -> tuple[tuple[torch.Tensor, tuple[int, ...]], ...]:
    first, second = (tensor.detach() for tensor in call.read)
    factor = call.kwargs.get("alpha", 1) * (-1 if call.spec.name == "sub" else 1)
    second = second if factor == 1 else factor * second
    # A sum in place has overwritten its first term.
    first = output - second if call.facts.written else first
    return (first, call.origins[0].layers), (second, call.origins[1].layers)
