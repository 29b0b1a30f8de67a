"""`record`: one forward and one backward pass, watched; the model is left bit for bit as it was."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.errors import GainstageError, SubjectError
from gainstage.seeding import preserved_rng
from gainstage.trace import alone, call
from gainstage.trace.grams import gram_figures
from gainstage.trace.lazy_layers import built
from gainstage.trace.mode import RecordingMode
from gainstage.trace.preserve import accumulated_gradients, has_reentrant_checkpoint
from gainstage.trace.records import (
    DropoutRecord,
    LayerRecord,
    LossRecord,
    NonFiniteRecord,
    ParameterRecord,
    TensorRecord,
    Trace,
    UnregisteredRecord,
)
from gainstage.trace.scene import scene
from gainstage.trace.subject import Subject, as_subject
from gainstage.trace.tensors import parameter_records, tensor_record
from gainstage.trace.training_records import OptimizerRecord


def record(
    subject_or_model: Subject | nn.Module, batches: Any = None, loss: Any = None, *, backward: bool = True
) -> Trace:
    """Measures one forward and backward pass on the first batch.

    The model, its buffers, modes, gradients and hooks, the optimizer, the batch and every random generator are
    afterwards as they were, bit for bit, also when it raises. Statistics are reduced while the tensors pass;
    none is kept. The pass is run twice if anything was not finite, to name the operation that produced it.

    Args:
        subject_or_model: A `Subject`, or a module, then with ``batches``.
        batches, loss: As in `Subject`.
        backward: Also measure gradients. A model that differentiates something itself has them in any case.

    Returns:
        The trace; its layers are in execution order.

    Raises:
        SubjectError: if the batch does not fit the model, or no scalar loss comes out.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> trace = gs.record(model, (torch.randn(16, 4), torch.randint(3, (16,))))
        >>> [(layer.name, layer.kind) for layer in trace.layers]
        [('0', 'linear'), ('1', 'activation'), ('2', 'linear')]
    """
    return recording(as_subject(subject_or_model, batches, loss), backward=backward).trace


def recording(subject: Subject, *, backward: bool = True) -> Recording:
    """`record`, with what its pass computed: what comes next need not compute it again."""
    with preserved_rng():
        batch = subject.batches.first()
        subject = built(subject, batch)
    try:
        found = _recorded(subject, batch, careful=False, backward=backward)
    except SubjectError:
        if backward:
            raise
        # A model that differentiates something on its way needs gradients also for its forward pass.
        backward = True
        found = _recorded(subject, batch, careful=False, backward=True)
    if not _all_finite(found.trace):
        found = _recorded(subject, batch, careful=True, backward=backward)
    return found


def _all_finite(trace: Trace) -> bool:
    tensors = (*trace.inputs, *trace.parameters, *trace.outputs)
    return (
        all(layer.finite for layer in trace.layers)
        and all(tensor.non_finite == 0 for tensor in tensors)
        and abs(trace.loss) < float("inf")
    )


@dataclass(frozen=True)
class Recording:
    """A trace and what its pass computed.

    Attributes:
        trace: What was measured.
        gradients: Of the parameters that require one, by name; None where the loss does not depend on it. Empty if no
            gradients were asked for, or the loss depends on nothing.
        outputs: What the model returned, if that is one tensor; without a history.
        returned: What it returned, whatever that is; its tensors without a history.
    """

    trace: Trace
    gradients: dict[str, torch.Tensor | None]
    outputs: torch.Tensor | None
    returned: Any = None


@dataclass
class _Run:
    """What one watched pass left behind."""

    mode: RecordingMode
    outputs: Any
    loss: float
    loss_name: str
    loss_chosen: bool
    parameters: dict[str, nn.Parameter]
    gradients: dict[str, torch.Tensor | None]


def _recorded(subject: Subject, batch: Any, *, careful: bool, backward: bool) -> Recording:
    with scene(subject, batch, careful=careful, backward=backward) as stage:
        run = _run(subject, stage.batch, stage.mode, stage.parameters, backward=backward)
        trace = _assembled(subject, stage.batch, run, stage.batch_size, backward=backward)
        trace = replace(trace, skipped=(*trace.skipped, *stage.notes))
    outputs = run.outputs.detach() if isinstance(run.outputs, torch.Tensor) else None
    answer = outputs if outputs is not None else pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, run.outputs)
    return Recording(trace, run.gradients, outputs, answer)


def _run(
    subject: Subject, batch: Any, mode: RecordingMode, parameters: dict[str, nn.Parameter], *, backward: bool
) -> _Run:
    with mode:
        outputs, value, name, chosen = _forward(subject, batch, mode)
        loss = call.scalar_loss(value, name if name == "forward" else "loss")
        mode.drafting.hook_awaiting()
    mode.in_backward = True
    # The hooks are set: only the search for the first non-finite value has to see the backward pass as well.
    with mode if mode.careful else nullcontext():
        gradients = _gradients(parameters, loss, mode) if backward else {}
    return _Run(mode, outputs, float(loss.detach()), name, chosen, parameters, gradients)


def _forward(subject: Subject, batch: Any, mode: RecordingMode) -> tuple[Any, Any, str, bool]:
    """Outputs, loss, the loss's name, and whether gainstage chose it."""
    model = subject.model
    with explained("the model must accept the batch", mode):
        if subject.forward is not None:
            return None, subject.forward(model, batch), "forward", False
        unpacked = call.unpack(batch)
        outputs = model(*unpacked.args, **unpacked.kwargs)
    name, chosen, compute = call.choose_loss(subject, outputs, unpacked.targets)
    try:
        with explained("the loss must accept the model's output and the targets", mode):
            return outputs, compute(), name, chosen
    except SubjectError:
        output = call.prediction(outputs)
        if mode.labels is None or not mode.labels.refused or output is None:
            raise
        # A rule says what is wrong with them; all that does not ask for a loss can be measured all the same.
        return outputs, call.surrogate(output), "surrogate", True


def _gradients(
    parameters: dict[str, nn.Parameter], loss: torch.Tensor, mode: RecordingMode
) -> dict[str, torch.Tensor | None]:
    named = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    if not loss.requires_grad or not named:
        return {}
    mode.accumulated = bool(mode.drafting.ungraded) and has_reentrant_checkpoint(loss)
    with explained("the loss must be differentiable", mode):
        if mode.accumulated:
            return accumulated_gradients(loss, named)
        # It leaves .grad alone and runs no optimizer or all-reduce that hangs on its accumulation.
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return dict(zip(named, found, strict=True))


@contextmanager
def explained(constraint: str, mode: RecordingMode) -> Generator[None]:
    """Turns an exception of the user's model or loss into one line that says where it happened."""
    try:
        yield
    except GainstageError:
        raise
    except Exception as error:
        op, path, shapes = mode.last
        constraint = f"{constraint} in the memory there is" if _out_of_memory(error) else constraint
        read = ", ".join(str(tuple(shape)) for shape in shapes) or "()"
        advice = _LESS_MEMORY if _out_of_memory(error) else _TRY_OUTSIDE
        where = f"operation {op} on shapes {read} in module {path or '(root)'!r}"
        detail = " ".join(str(error).split())
        raise SubjectError(
            f"record: {constraint}, got {type(error).__name__}: {detail} (after {where}). {advice}"
        ) from error


_TRY_OUTSIDE = "Check that this batch trains the model outside of gainstage."
_LESS_MEMORY = (
    "Pass a smaller batch: 8 to 32 samples show the same; or record(backward=False), or the model on the CPU."
)


def _out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def _assembled(subject: Subject, batch: Any, run: _Run, batch_size: int | None, *, backward: bool) -> Trace:
    model, mode = subject.model, run.mode
    parameters = parameter_records(run.parameters, run.gradients, mode.used)
    inputs, targets = _batch_records(subject, batch)
    outputs = tuple(tensor_record("outputs" + place, tensor) for place, tensor in call.tensors_of(run.outputs))
    origin = mode.loss_origin
    layers = shown_layers(mode, batch_size, {parameter.name: parameter for parameter in parameters})
    return Trace(
        layers=layers, loss=run.loss, name=subject.name, training=model.training, backward=backward,
        parameters=parameters, inputs=inputs, targets=targets, outputs=outputs,
        loss_record=LossRecord(
            run.loss_name, run.loss_chosen, tuple(mode.loss_ops),
            None if origin is None or not origin.layers else origin.layers[-1], () if origin is None else origin.via,
            mode.labels, mode.crossing, tuple(mode.loss_parts), of_torch=_of_torch(subject),
            squashes_sum=mode.loss_squashes_sum,
        ),
        first_non_finite=_first_non_finite(mode, parameters, (*inputs, *targets)),
        optimizer=_optimizer_record(subject),
        eval_modules=tuple(path for path, module in mode.stack.modules.items() if not module.training),
        without_grad=tuple(sorted(mode.drafting.ungraded)) if backward else (),
        skipped=tuple(_skipped(mode)),
        returned=_returned(run),
        dropouts=tuple(DropoutRecord(path, share) for path, share in mode.stack.dropped.items()),
        flat_derivatives=mode.flat_derivatives,
        reshapes=tuple(mode.reshapes.found),
        unregistered=tuple(_unregistered(subject, mode)),
        world_size=alone.world_size(mode.stack.modules),
    )  # fmt: skip


def _returned(run: _Run) -> tuple[int, ...]:
    origins = (run.mode.provenance.of(tensor) for _, tensor in call.tensors_of(run.outputs))
    return tuple(sorted({layer for origin in origins for layer in origin.layers}))


def _unregistered(subject: Subject, mode: RecordingMode) -> Iterator[UnregisteredRecord]:
    groups = subject.optimizer.param_groups if subject.optimizer is not None else ()
    held = {id(parameter) for group in groups for parameter in group["params"]}
    for key, (tensor, path) in mode.unregistered.items():
        yield UnregisteredRecord(path, tuple(tensor.shape), key in held)


def _skipped(mode: RecordingMode) -> Iterator[str]:
    for name in sorted(mode.drafting.capped):
        yield f"{name}: only its first {mode.drafting.recorded_calls(name)} calls are recorded"
    if mode.labels is not None and mode.labels.refused:
        yield f"the loss: {mode.labels.refused}, and it ends there; what is measured is without targets"
    if mode.accumulated:
        yield "gradients of the outputs inside a re-entrant checkpoint are not recorded; use_reentrant=False shows them"


def shown_layers(
    mode: RecordingMode, batch_size: int | None, parameters: dict[str, ParameterRecord]
) -> tuple[LayerRecord, ...]:
    """The records of what the mode saw; a weight or bias that is a plain parameter has its figures from there."""
    rms_of: dict[int, float | None] = {}
    layers: list[LayerRecord] = []
    for draft, gram in zip(mode.drafts, gram_figures([draft.gram for draft in mode.drafts]), strict=True):
        layer = draft.record(batch_size, rms_of, parameters, gram)
        rms_of[draft.position] = layer.rms
        layers.append(layer)
    return tuple(layers)


def _batch_records(subject: Subject, batch: Any) -> tuple[tuple[TensorRecord, ...], tuple[TensorRecord, ...]]:
    if subject.forward is not None:
        return tuple(tensor_record("batch" + place, tensor) for place, tensor in call.tensors_of(batch)), ()
    unpacked = call.unpack(batch)
    named = {key: value for key, value in unpacked.kwargs.items() if key != "labels"}
    sources = [("inputs", unpacked.args[0] if len(unpacked.args) == 1 else unpacked.args)] if unpacked.args else []
    sources += list(named.items())
    inputs = tuple(tensor_record(name + place, t) for name, value in sources for place, t in call.tensors_of(value))
    targets = tuple(tensor_record("targets" + place, t) for place, t in call.tensors_of(unpacked.targets))
    return inputs, targets


def _first_non_finite(
    mode: RecordingMode, parameters: tuple[ParameterRecord, ...], batch: tuple[TensorRecord, ...]
) -> NonFiniteRecord | None:
    for tensor in batch:
        if tensor.non_finite:
            return NonFiniteRecord(tensor.name, "", "input", "nan", tensor.non_finite, tensor.dtype)
    for parameter in parameters:
        if parameter.non_finite:
            module = parameter.name.rpartition(".")[0]
            return NonFiniteRecord(parameter.name, module, "parameter", "nan", parameter.non_finite, parameter.dtype)
    found = mode.first_non_finite
    if found is None or found.phase != "backward":
        return found
    # Gradients arrive from the loss backwards: the earliest layer that is still finite stands before the fault.
    faulty = [draft for draft in mode.drafts if draft.gradient is not None and int(draft.gradient.non_finite)]
    return replace(found, module=faulty[-1].module) if faulty else found


def _optimizer_record(subject: Subject) -> OptimizerRecord | None:
    optimizer, model = subject.optimizer, subject.model
    if optimizer is None:
        return None
    own = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    # A loss may have parameters of its own, and they belong to the run as well.
    modules = (model, subject.loss) if isinstance(subject.loss, nn.Module) else (model,)
    everything = {id(parameter) for module in modules for parameter in module.parameters()}
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    groups = [group for group in optimizer.param_groups if group.get("weight_decay")]
    decays = {id(p): float(group["weight_decay"]) for group in groups for p in group["params"]}
    decayed = {name: decays[key] for key, name in own.items() if key in decays}
    return OptimizerRecord(
        type(optimizer).__name__,
        tuple(float(group.get("lr", 0.0)) for group in optimizer.param_groups),
        tuple(float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups),
        tuple(name for key, name in own.items() if key not in set(held)),
        sum(key not in everything for key in held),
        tuple(decayed),
        tuple(decayed.values()),
        type(optimizer).__name__ not in COUPLED or any(group.get("decoupled_weight_decay") for group in groups),
        bool(optimizer.state),
        any(group.get("maximize") for group in optimizer.param_groups),
    )


def _of_torch(subject: Subject) -> bool:
    """Whether the loss is torch's own: one that a user wrote may bear the name of another."""
    loss = subject.loss
    where = type(loss) if isinstance(loss, nn.Module) else loss
    return loss is not None and str(getattr(where, "__module__", "")).partition(".")[0] == "torch"


# Of torch.optim, those that add the decay to the gradient, unless they are told otherwise.
COUPLED = frozenset(("SGD", "ASGD", "Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop"))
