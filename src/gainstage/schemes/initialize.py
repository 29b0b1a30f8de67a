"""`initialize`: every linear and convolutional layer, for what follows it; every parameter accounted for."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from gainstage.errors import GainstageError, InitializationError
from gainstage.schemes.catalogue import DRIVEN, scheme
from gainstage.schemes.planner import Plan, plan
from gainstage.schemes.reasons import reason
from gainstage.schemes.report import InitReport, Row
from gainstage.schemes.structured import STRUCTURED, constants
from gainstage.seeding import generator
from gainstage.trace import Trace, record
from gainstage.trace.outline import outline
from gainstage.trace.samples import required_arguments, sample_inputs
from gainstage.trace.scaling import scale
from gainstage.trace.subject import BatchSeries, Subject

__all__ = ["InitReport", "Row", "initialize", "initialize_subject"]


def initialize(
    model: nn.Module, batch: Any = None, *, scheme: str = "auto", seed: int | torch.Generator = 0
) -> InitReport:
    """Draws the weights of every linear and convolutional layer anew, for the activation that follows it, in place.

    He's scheme with the computed gain before ReLU and its kin, Var W = gain²/fan_in; Glorot's before tanh, sigmoid
    and other saturating activations, Var W = 2/(fan_in + fan_out); LeCun's where nothing follows, Var W = 1/fan_in;
    the last layer of a residual branch 1/√L times that in a stream of L sums; a read-out to what its loss asks for,
    where the batch has targets. With a batch each weight is then
    scaled, in one pass in the order of execution, so that its layer's output has rms 1 (1/√L) on the batch; less
    before a saturating activation in a deep network, where gradients would grow at 1.

    Biases of these layers become zero. What follows is read off an outline of the forward pass, so functional
    activations and in-place ones are seen. A parameter's draw depends on the seed and on its own path alone, not on
    device or order of registration; it is drawn in float32 and cast. Buffers, modes, gradients and generators stay
    as they are.

    Args:
        model: Any module; changed in place, or not at all if this raises.
        batch: A batch as in `gainstage.Subject`; its targets are not needed. None: a random one is made from the
            signatures of the forward pass and of the first layers.
        scheme: ``auto`` (normal), ``auto_uniform``, ``auto_truncated_normal``, and ``lsuv`` (orthogonal), which a
            batch scales; ``fixup``, ``skipinit``, ``nf_resnet``, ``t_fixup`` or ``gpt2`` for whole residual networks,
            or a scheme for all layers such as ``he_uniform`` or ``delta_orthogonal``, which are left as they are
            drawn: any of `gainstage.schemes.scheme_names`. Where a scheme cannot draw a weight, another takes its
            place, which the layer's note says.
        seed: Of the draws; a generator gives one, and is advanced by it.

    Returns:
        What was initialized, what was left and why, and each layer's figures before and after.

    Raises:
        InitializationError: if no batch is given and none can be made, or the model has lazy parameters.
        UnknownNameError: if there is no such scheme.
        SubjectError: if the batch does not fit the model.

    Validity:
        The variances are those of wide layers with independent weights. A level set on one batch holds for others
        as far as they are alike; a layer used several times has the level at its first use.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        >>> report = gs.initialize(model, torch.randn(32, 64))
        >>> [(row.layer, row.scheme) for row in report.rows]
        [('0', 'he_normal'), ('2', 'lecun_normal')]

    References:
        Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998.
    """
    _require_known(scheme)
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
    subject = Subject(model, ())
    if next(model.parameters(), None) is None:
        return InitReport((), (), ())
    subject = subject.replace(batches=_made_batch(subject) if batch is None else _one_batch(batch))
    return initialize_subject(subject, scheme=scheme, seed=seed, driven=batch is not None, meta=batch is None)


def initialize_subject(
    subject: Subject, *, scheme: str = "auto", seed: int = 0, driven: bool = False, meta: bool = False
) -> InitReport:
    """`initialize` for a subject's model, on its first batch, by its own forward.

    Args:
        subject: Whose model is initialized.
        scheme, seed: As in `initialize`.
        driven: Scale by the levels that the batch shows, where the scheme leaves them to it.
        meta: Outline the model on the meta device: nothing is computed for the plan.
    """
    _require_known(scheme)
    parameters = dict(subject.model.named_parameters())
    _require_built(parameters)
    driven = driven and scheme in DRIVEN
    before = outline(subject, meta=meta)
    plans = plan(before, DRIVEN.get(scheme, scheme))
    draws = {entry.weight: _drawn(entry, seed) for entry in plans}
    for entry in plans:
        if entry.bias is not None and entry.bias not in draws and parameters[entry.bias].requires_grad:
            draws[entry.bias] = _drawn_bias(entry, entry.bias, parameters[entry.bias], seed)
    for name, value in constants(before, scheme).items():
        if name not in draws and parameters[name].requires_grad:
            draws[name] = torch.full(tuple(parameters[name].shape), value)
    _clear_padding(subject.model, draws)
    rows = _scaled_rows if driven else _drawn_rows
    return InitReport(
        tuple(name for name in parameters if name in draws),
        tuple((name, reason(name, before)) for name in parameters if name not in draws),
        rows(subject, plans, parameters, draws),
    )


def _scaled_rows(
    subject: Subject, plans: Sequence[Plan], parameters: Mapping[str, nn.Parameter], draws: Mapping[str, torch.Tensor]
) -> tuple[Row, ...]:
    """Sets the parameters, scales them in one pass, and reports the level of each layer."""
    with _all_or_nothing(parameters, draws):
        reached = scale(subject, {entry.weight: entry.level for entry in plans})
    rows: list[Row] = []
    for entry in plans:
        met = next((r for name, r in reached.items() if name.partition("[")[0] == entry.weight), None)
        note = "not reached as it was outlined: as drawn" if met is None else met.note
        row = Row(
            layer=entry.layer, follows=entry.follows, scheme=entry.scheme.name, fan_in=entry.fan_in,
            fan_out=entry.fan_out, target=entry.level, before=None if met is None else met.before,
            after=None if met is None else met.after, quantity="rms",
            note="; ".join(text for text in (entry.note, note) if text),
        )  # fmt: skip
        rows.append(row)
    return tuple(rows)


def _drawn_rows(
    subject: Subject, plans: Sequence[Plan], parameters: Mapping[str, nn.Parameter], draws: Mapping[str, torch.Tensor]
) -> tuple[Row, ...]:
    """Sets the parameters, and reports the standard deviation of each weight and the level that it gives."""
    before = _recorded(subject)
    with _all_or_nothing(parameters, draws):
        after = _recorded(subject)
    return tuple(_row(entry, before, after) for entry in plans)


def planned(subject: Subject, scheme: str = "auto") -> tuple[Plan, ...]:
    """What `initialize` would draw, without drawing: the model is outlined, on the meta device where it can be.

    Args:
        subject: Whose model is planned for, on its first batch; it may be on the meta device itself.
        scheme: As in `initialize`.

    Returns:
        One plan for each weight that would be drawn, in order of execution.

    Raises:
        UnknownNameError: if there is no such scheme.
        SubjectError: if the batch does not fit the model.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Linear(65536, 65536, device="meta")
        >>> [entry.fan_in for entry in planned(gs.Subject(model, torch.randn(2, 65536)))]
        [65536.0]
    """
    _require_known(scheme)
    return plan(outline(subject), DRIVEN.get(scheme, scheme))


@contextmanager
def _all_or_nothing(parameters: Mapping[str, nn.Parameter], draws: Mapping[str, torch.Tensor]) -> Generator[None]:
    """Sets the parameters, and sets them back if anything fails before the end."""
    saved = {name: parameters[name].detach().clone() for name in draws}
    try:
        _set(parameters, draws)
        yield
    except BaseException:
        _set(parameters, saved)
        raise


@torch.no_grad()
def _set(parameters: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)


def _recorded(subject: Subject) -> Trace:
    """A forward pass's trace. torch's fused transformer layer is off: it computes the same, and hides its maps."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return record(subject.replace(loss=_unjudged), backward=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _unjudged(_outputs: Any, _targets: Any) -> torch.Tensor:
    """The loss where only the forward pass counts: whatever the targets are, they fit."""
    return torch.zeros(())


def _one_batch(batch: Any) -> Any:
    """The argument as a series of one batch. A list is a batch as a DataLoader yields it if it ends in a tensor."""
    if isinstance(batch, BatchSeries) or not isinstance(batch, list):
        return batch
    return [batch] if len(batch) in (1, 2) and isinstance(batch[-1], torch.Tensor) else batch


def _require_known(name: str) -> None:
    if name not in DRIVEN and name not in STRUCTURED:
        scheme(name)


def _require_built(parameters: Mapping[str, nn.Parameter]) -> None:
    lazy = [name for name, parameter in parameters.items() if isinstance(parameter, UninitializedParameter)]
    if lazy:
        raise InitializationError(
            f"initialize: the model must have no lazy parameters, got {len(lazy)} without a shape ({lazy[0]!r}). "
            "Run the model on a batch once."
        )


def _drawn(entry: Plan, seed: int) -> torch.Tensor:
    drawn = entry.scheme.draw(entry.site, generator(seed, entry.weight))
    if entry.part_scales:
        # Packed projections stand below one another, in rows of fan_in, however few rows these are.
        for part, scale in zip(drawn.chunk(len(entry.part_scales)), entry.part_scales, strict=True):
            part.mul_(scale)
        return drawn
    return drawn if entry.scale == 1 else drawn.mul_(entry.scale)


def _clear_padding(model: nn.Module, draws: Mapping[str, torch.Tensor]) -> None:
    """The row of an embedding that stands for nothing stays zero."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            drawn = draws.get(f"{path}.weight" if path else "weight")
            if drawn is not None:
                drawn[module.padding_idx] = 0


def _drawn_bias(entry: Plan, name: str, parameter: nn.Parameter, seed: int) -> torch.Tensor:
    return entry.scheme.draw_bias(entry.site, tuple(parameter.shape), generator(seed, name))


def _row(entry: Plan, before: Trace, after: Trace) -> Row:
    std = [next(p.std for p in trace.parameters if p.name == entry.weight) for trace in (before, after)]
    rms = [next((la.rms for la in trace.layers if la.name == entry.layer), None) for trace in (before, after)]
    return Row(
        layer=entry.layer, follows=entry.follows, scheme=entry.scheme.name, fan_in=entry.fan_in,
        fan_out=entry.fan_out, target=entry.variance**0.5, before=std[0], after=std[1],
        rms_before=rms[0], rms_after=rms[1], note=entry.note,
    )  # fmt: skip


def _made_batch(subject: Subject) -> Any:
    """A random batch from the signatures of the forward pass and of the first layers, tried out.

    A forward that must have several arguments gets the same tensor for each.
    """
    _require_built(dict(subject.model.named_parameters()))
    needed = required_arguments(subject.model)
    for candidate in sample_inputs(subject.model):
        batch = candidate if len(needed) < 2 else dict.fromkeys(needed, candidate)
        try:
            _recorded(subject.replace(batches=batch))
        except GainstageError:
            continue
        return batch
    takes = f"; its forward takes {', '.join(needed)}" if needed else ""
    raise InitializationError(
        f"initialize: a batch must be given for {type(subject.model).__name__}, got None and found none that fits "
        f"its first layers{takes}. Pass one: gs.initialize(model, batch)."
    )
