"""Norms of one kind replaced by others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from torch import nn

from gainstage.errors import InputError, UnknownNameError
from gainstage.norm.surgery.copying import move_hooks, operated, put_in_place
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.sites import BATCH, KINDS, NormSite, norm_sites
from gainstage.norm.surgery.targets import Factory, substitute, target_name
from gainstage.norm.surgery.tracks import CALLED
from gainstage.trace.outline import outline
from gainstage.trace.records import Trace
from gainstage.trace.subject import Subject

What = str | type[nn.Module] | tuple[Any, ...] | Callable[[str, nn.Module], bool]


def replace(
    model: nn.Module, what: What, by: str | type[nn.Module] | Factory | None, *, batch: Any = None,
    groups: int | None = None, channels_per_group: int | None = None, inplace: bool = False,
) -> Surgery:  # fmt: skip
    """Returns the model with norms of one kind replaced by another.

    Scale and shift are carried over as the parameters that they are, so names, ties, ``requires_grad`` and types
    stay; mode, device and hooks too. What a class of norms adds to its forward (an activation, a dropout) is kept:
    it stands behind the new norm in an `torch.nn.Sequential` under its old name, the norm under ``norm``. A norm
    whose forward does anything else is left.

    Args:
        model: Any module.
        what: A kind (``batch``, which includes synchronized and frozen ones, ``sync_batch``, ``frozen_batch``,
            ``instance``, ``group``, ``layer``, ``rms``), a class, several of these, or ``(path, module) -> bool``.
        by: ``group``; ``layer``, for channels in dimension 1 over channels and positions together, which is
            GroupNorm(1, C) (``channel_layer`` is over channels at each position); ``instance``; ``batch``;
            ``sync_batch``; ``rms``; torch's classes for these; None for the identity, without scale and shift; or a
            function that gets the old norm and returns any module.
        batch: One batch. With it numbers of dimensions that only a run can show are known, lazy norms are told apart
            and norms that are called as functions are reported; nothing is computed but the model's outline.
        groups: At most so many groups; by default at most 32 of at least 4 channels each.
        channels_per_group: At least so many channels a group.
        inplace: Change the model itself.

    Returns:
        `Surgery`: the model, what was changed, what was left and why.

    Raises:
        UnknownNameError: if a kind or a target has no such name.
        InputError: if the model cannot be copied, or is itself the norm to replace in place.
        SubjectError: if the batch does not fit the model.

    Validity:
        The new model computes something else: it has to be trained, or at least tuned. Batch norms that take the
        place of others begin with the running statistics of a new one: `recalibrate` sets them.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        >>> print(replace(net, "batch", "group"))
        replace: 1 changed, 0 left
          BatchNorm2d -> GroupNorm(16, 64): 1
          norms that the model calls as functions were not looked for: pass batch=

    References:
        Wu and He 2018, Group Normalization; Ba et al. 2016, Layer Normalization.
    """
    wanted = _wanted(what)
    name = target_name(by)
    for_groups = groups, channels_per_group
    model = operated("replace", model, inplace=inplace)
    trace = None if batch is None else outline(Subject(model, [batch]))
    shapes = {} if trace is None else {layer.module: layer.shape for layer in trace.layers if layer.norm is not None}
    made: dict[int, nn.Module] = {}
    changed: list[Change] = []
    left: list[Left] = []
    sites = norm_sites(model)
    for site in sites:
        if not wanted(site):
            continue
        new = _made(site, name, cast("Factory", by), shapes.get(site.path), *for_groups)
        if isinstance(new, str):
            left.append(Left(site.path, site.label, new))
            continue
        made[id(site.module)] = _dressed(site, new)
        changed.append(Change(site.path, f"{site.label} -> {_described(new)}", _note(site, name)))
    if inplace and id(model) in made:
        raise InputError(
            f"replace: the model must hold the norm to replace it in place, got the {type(model).__name__} itself. "
            "Take the model that replace returns without inplace=True."
        )
    model = put_in_place("replace", model, made)
    left.extend(_functional(trace, sites, wanted) if trace is not None else ())
    notes = () if trace is not None else ("norms that the model calls as functions were not looked for: pass batch=",)
    return Surgery("replace", model, tuple(changed), tuple(left), notes)


def to_sync(model: nn.Module, process_group: Any = None, *, inplace: bool = False) -> Surgery:
    """Returns the model with batch norms synchronized between processes; what subclasses add is kept.

    Args:
        model: Any module.
        process_group: Whose batches are normalised together; None: all.
        inplace: Change the model itself.

    Returns:
        `Surgery`. Parameters, running statistics, momentum and mode are kept.

    Raises:
        InputError: as for `replace`.

    Example:
        >>> type(to_sync(nn.Sequential(nn.BatchNorm2d(4))).model[0]).__name__
        'SyncBatchNorm'
    """
    result = replace(model, _is_plain_batch, "sync_batch", inplace=inplace)
    for module in result.model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.process_group = process_group
    return Surgery("to_sync", result.model, result.changed, result.left)


def from_sync(model: nn.Module, *, batch: Any = None, inplace: bool = False) -> Surgery:
    """Returns the model with synchronized batch norms turned back into those of one process.

    Args:
        model: Any module.
        batch: Shows of how many dimensions each is; without, it is taken from the convolutions, if they agree.
        inplace: Change the model itself.

    Returns:
        `Surgery`; a norm whose number of dimensions is unknown is left.

    Raises:
        InputError, SubjectError: as for `replace`.

    Example:
        >>> type(from_sync(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4))).model[1]).__name__
        'BatchNorm2d'
    """
    kernels = {len(module.kernel_size) for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd)}  # pyright: ignore[reportPrivateUsage]
    by: Any = "batch"
    if batch is None and len(kernels) == 1:
        by = partial(_batch_norm_of, ndim=kernels.pop() + 2)
    result = replace(model, "sync_batch", by, batch=batch, inplace=inplace)
    return Surgery("from_sync", result.model, result.changed, result.left)


def _is_plain_batch(_path: str, module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm)  # pyright: ignore[reportPrivateUsage]


def _batch_norm_of(module: nn.Module, ndim: int) -> nn.Module:
    site = NormSite("", module, "sync_batch", cast("int", module.num_features), 1, ndim)
    made = substitute(site, "batch", None, None, None)
    assert isinstance(made, nn.Module)
    return made


def _wanted(what: Any) -> Callable[[NormSite], bool]:
    if isinstance(what, (tuple, list)):
        options = [_wanted(option) for option in what]
        return lambda site: any(option(site) for option in options)
    if isinstance(what, str):
        if what not in KINDS:
            raise UnknownNameError("replace", "what", what, KINDS)
        kinds = BATCH if what == "batch" else (what,)
        return lambda site: site.kind in kinds
    if isinstance(what, type) and issubclass(what, nn.Module):
        return lambda site: isinstance(site.module, what)
    if callable(what):
        return lambda site: bool(what(site.path, site.module))
    raise InputError(
        "replace: what must be a kind, a class, a tuple of these or (path, module) -> bool, got "
        f"{type(what).__name__}. Kinds: {', '.join(KINDS)}."
    )


def _made(
    site: NormSite, name: str, by: Factory, shape: tuple[int, ...] | None, groups: int | None,
    channels_per_group: int | None,
) -> nn.Module | str:  # fmt: skip
    if not name:
        return _by_function(site, by)
    if site.obstacle:
        return site.obstacle
    new = substitute(site, name, shape, groups, channels_per_group)
    if isinstance(new, nn.Module):
        for module in new.modules():
            module.training = site.module.training
    return new


def _by_function(site: NormSite, by: Factory) -> nn.Module:
    """A norm that cannot be taken apart is left to the function whole."""
    new: Any = by(site.module)
    if not isinstance(new, nn.Module):
        raise InputError(
            f"replace: by must return a module, got {type(new).__name__} (for {site.path or '(root)'}). "
            "Return the old norm to leave it."
        )
    like = site.tensor("weight")
    like = site.tensor("running_mean") if like is None else like
    if like is not None and not like.is_meta:
        new.to(device=like.device)
    new.train(site.module.training)
    return new


def _dressed(site: NormSite, new: nn.Module) -> nn.Module:
    """The new norm with what the old one did behind it, and with its hooks."""
    if site.extras and new is not site.module:
        parts: Mapping[str, nn.Module] = {"norm": new, **dict(site.extras)}
        training, new = site.module.training, nn.Sequential(OrderedDict(parts))
        new.training = training
    if new is not site.module:
        move_hooks(site.module, new)
    return new


def _described(new: nn.Module) -> str:
    if isinstance(new, nn.GroupNorm):
        return f"GroupNorm({new.num_groups}, {new.num_channels})"
    return type(new).__name__


def _note(site: NormSite, name: str) -> str:
    notes: list[str] = []
    if site.extras:
        notes.append(f"with {', '.join(child for child, _ in site.extras)} behind")
    if name in ("batch", "sync_batch") and site.kind not in BATCH:
        notes.append("recalibrate its running statistics")
    if name == "rms" and site.tensor("bias") is not None:
        notes.append("without its shift")
    return ", ".join(notes)


def _functional(trace: Trace, sites: tuple[NormSite, ...], wanted: Callable[[NormSite], bool]) -> Iterator[Left]:
    """Norms of the wanted kinds that no norm module runs."""
    inside = tuple(site.path for site in sites)
    kinds = {"batch": "batch", "layer": "layer", "group": "group", "instance": "instance", "rms": "rms"}
    for layer in trace.layers:
        if layer.norm is None or layer.norm.type not in kinds or _within(layer.module, inside):
            continue
        stand_in = NormSite(layer.module, nn.Identity(), cast("Any", layer.norm.type), 0, 1)
        if wanted(stand_in):
            yield Left(
                layer.module,
                f"{layer.norm.type} norm as a function",
                CALLED,
            )


def _within(path: str, sites: tuple[str, ...]) -> bool:
    return any(path == site or path.startswith(f"{site}.") for site in sites)
