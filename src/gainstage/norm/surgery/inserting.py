"""Norms put into a model that has none: behind every map that an activation reads."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from torch import nn

from gainstage.errors import SubjectError, UnknownNameError
from gainstage.norm.surgery.copying import hooked, operated, put_in_place
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.targets import group_count
from gainstage.trace.graph import consumers
from gainstage.trace.outline import outline
from gainstage.trace.records import LayerRecord, Trace
from gainstage.trace.subject import Subject

NORMS = ("batch", "group", "layer")
_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_ONE_VALUE = "each statistic would be of one value"
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def insert(model: nn.Module, batch: Any, by: str, *, inplace: bool = False) -> Surgery:
    """Returns the model with a norm between every linear or convolutional layer and the activation that reads it.

    The map and its norm stand in a `torch.nn.Sequential` under the map's old name, the map under ``map``, so that
    names of parameters change. Where a norm reads the map already, none is put in; nor before a softmax, which reads
    scores out. A map that is called several times gets one if an activation reads it every time.

    Args:
        model: Any module.
        batch: One batch: the model is outlined on it to see what reads what; its values are not used.
        by: ``batch``, ``group`` (at most 32 groups of at least 4 channels) or ``layer`` (over channels and positions
            of a feature map, over features elsewhere).
        inplace: Change the model itself.

    Returns:
        `Surgery`: the model, what was changed, what was left and why.

    Raises:
        UnknownNameError: if there is no such norm.
        InputError: if the model cannot be copied.
        SubjectError: if the batch does not fit the model, or the model not its own maps' new place; a model changed
            in place is as it was then.

    Validity:
        Maps that are called as functions, or whose weights the model reads itself, cannot be followed by a norm in
        this way, and are left.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> print(insert(net, torch.randn(4, 8), "batch"))
        insert: 1 changed, 0 left
          Linear -> Linear, BatchNorm1d(16): 0

    References:
        Ioffe and Szegedy 2015, Batch Normalization, section 3.2: right before the nonlinearity.
    """
    if by not in NORMS:
        raise UnknownNameError("insert", "by", by, NORMS)
    model = operated("insert", model, inplace=inplace)
    modules = dict(model.named_modules(remove_duplicate=False))
    trace = outline(Subject(model, [batch]))
    made: dict[int, nn.Module] = {}
    changed: list[Change] = []
    left: list[Left] = []
    found = _before_activations(trace)
    elsewhere = _several_uses(trace, found)
    for layer in found:
        module = modules.get(layer.name.partition("#")[0])
        if id(module) in made:
            continue
        norm = _obstacle(module, layer, elsewhere) or _norm(by, layer, training=module is not None and module.training)
        if isinstance(norm, str) or module is None:
            left.append(Left(layer.name, layer.op, str(norm)))
            continue
        weight = next(module.parameters())
        norm = norm.to(weight.device, weight.dtype).train(module.training)
        made[id(module)] = nn.Sequential(OrderedDict(map=module, norm=norm)).train(module.training)
        changed.append(Change(layer.name, f"{type(module).__name__} -> {type(module).__name__}, {_described(norm)}"))
    model = put_in_place("insert", model, made)
    if made:
        try:
            _require_running(model, batch)
        except SubjectError:
            put_in_place("insert", model, {id(put): cast("Any", put).map for put in made.values()})
            raise
    return Surgery("insert", model, tuple(changed), tuple(left))


def _before_activations(trace: Trace) -> list[LayerRecord]:
    """The maps that an activation reads, directly."""
    read_by = consumers(trace.layers)
    activated = (bool(readers) and all(_activates(trace.layers[reader]) for reader in readers) for readers in read_by)
    layers = zip(trace.layers, activated, strict=True)
    return [layer for layer, is_activated in layers if is_activated and layer.kind in ("linear", "conv")]


def _activates(layer: LayerRecord) -> bool:
    return layer.kind == "activation" and layer.op not in ("softmax", "log_softmax")


def _several_uses(trace: Trace, found: list[LayerRecord]) -> set[str]:
    """The weights that are also applied where no activation reads what comes of it."""
    names = {layer.name for layer in found}
    maps = (layer for layer in trace.layers if layer.kind in ("linear", "conv") and layer.parameters)
    return {layer.parameters[0] for layer in maps if layer.name not in names}


def _obstacle(module: nn.Module | None, layer: LayerRecord, elsewhere: set[str]) -> str:
    if not isinstance(module, _MAPS):
        return "it is called as a function, or by a module of another class"
    if "[" in layer.name or layer.computed or hooked(module):
        return "its output is not its module's alone"
    if layer.parameters[0] in elsewhere:
        return "it also runs where no activation reads it"
    return ""


def _norm(by: str, layer: LayerRecord, *, training: bool) -> nn.Module | str:
    """The norm for a map's output, or why there is none."""
    shape, last = layer.shape, layer.kind == "linear"
    channels = shape[-1] if last else shape[1]
    if last and by == "layer":
        return nn.LayerNorm(channels) if channels > 1 else _ONE_VALUE
    if last and len(shape) != 2:
        return f"its features are last; {by} norm is for channels in dimension 1"
    if by == "batch":
        single = training and torch.Size(shape).numel() == channels
        return f"{_ONE_VALUE} on this batch; pass a larger one" if single else _BATCH_NORMS[len(shape)](channels)
    count = 1 if by == "layer" else group_count(channels)
    if channels == count and torch.Size(shape[2:]).numel() == 1:
        return _ONE_VALUE
    return nn.GroupNorm(count, channels)


def _described(norm: nn.Module) -> str:
    if isinstance(norm, nn.GroupNorm):
        return f"GroupNorm({norm.num_groups}, {norm.num_channels})"
    sizes: Any = getattr(norm, "num_features", None) or getattr(norm, "normalized_shape", (0,))[-1]
    return f"{type(norm).__name__}({sizes})"


def _require_running(model: nn.Module, batch: Any) -> None:
    """A model that looks into its maps finds something else there now."""
    try:
        outline(Subject(model, [batch]))
    except SubjectError as error:
        raise SubjectError(
            f"insert: the model must run with norms behind its maps, got: {error} It seems to read its maps' weights "
            "itself; put the norms into its code."
        ) from error
