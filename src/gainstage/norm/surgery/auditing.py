"""What each norm of a model does, hides, and whether its running statistics fit the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.norm.surgery.agreement import Agreement, agreement
from gainstage.norm.surgery.maps import Map, is_map, out_rows
from gainstage.norm.surgery.records import Left
from gainstage.norm.surgery.sites import NormSite, norm_sites
from gainstage.norm.surgery.tracks import functional_norms, one_source
from gainstage.trace.running import AnyForward, outputs_of, seeing_inputs, set_mode, undisturbed
from gainstage.trace.wiring import Wiring, wiring

# A channel that varies by less than this of what a norm gives is taken for dead.
DEAD = 1e-3


@dataclass(frozen=True)
class NormAudit:
    """One norm, at its first call on the batch.

    Attributes:
        module: Dotted path.
        kind: ``batch``, ``layer``, ...
        values: How many values each mean and variance is taken over.
        channels: How many channels.
        dead: How many of them vary by less than a thousandth of the norm's output: constant, or scaled to nothing.
        level: rms of what it reads.
        layer: The layer whose output it reads alone, or "".
        gain: ``level`` over the rms of what that layer reads: the factor by which the signal would grow there if the
            norm did not hide it; None without such a layer.
        effective_lr_scale: 1/‖w‖² of the layer's weights, geometric mean over those that are normalised together: a
            step of SGD with learning rate η turns w/‖w‖ as one with η/‖w‖² turns a unit vector. None without a layer.
        agreement: Running against batch statistics; None where there are none.
    """

    module: str
    kind: str
    values: int
    channels: int
    dead: int
    level: float
    layer: str = ""
    gain: float | None = None
    effective_lr_scale: float | None = None
    agreement: Agreement | None = None


@dataclass(frozen=True, repr=False)
class Audit:
    """What `audit` found.

    Attributes:
        norms: In order of execution.
        left: Norms that did not run, or could not be examined.
    """

    norms: tuple[NormAudit, ...]
    left: tuple[Left, ...] = ()

    @property
    def apart(self) -> tuple[str, ...]:
        """Norms whose running statistics are further from the batch's than updates and noise explain."""
        return tuple(norm.module for norm in self.norms if norm.agreement is not None and norm.agreement.apart)

    def __str__(self) -> str:
        width = max([6, *(len(norm.module) for norm in self.norms)])
        lines = [
            f"{'module':<{width}} {'kind':<12} {'values':>8} {'dead':>9} {'level':>9} {'gain':>9} {'1/|w|²':>9} "
            f"{'shift':>8} {'expected':>9} {'ln var':>8} {'expected':>9}"
        ]
        lines += [_line(norm, width) for norm in self.norms]
        lines += [f"left {entry.module or '(root)'} ({entry.what}): {entry.reason}" for entry in self.left]
        if self.apart:
            lines.append(f"running statistics off the batch's: {len(self.apart)} norms; recalibrate sets them")
        return "\n".join(lines)

    __repr__ = __str__


def _line(norm: NormAudit, width: int) -> str:
    found = norm.agreement
    distances = (found.shift, found.expected_shift, found.spread, found.expected_spread) if found else (None,) * 4
    figures = [norm.level, norm.gain, norm.effective_lr_scale, *distances]
    shown = ["-" if value is None else f"{value:.3g}" for value in figures]
    cells = " ".join(f"{cell:>{size}}" for cell, size in zip(shown, (9, 9, 9, 8, 9, 8, 9), strict=True))
    mark = " apart" if found and found.apart else ""
    dead = f"{norm.dead}/{norm.channels}"
    return f"{norm.module or '(root)':<{width}} {norm.kind:<12} {norm.values:>8} {dead:>9} {cells}{mark}"


def audit(model: nn.Module, batch: Any, *, forward: AnyForward | None = None) -> Audit:
    """Examines every norm of a model on a batch, as training would run it: batch norms apply the batch's statistics.

    Args:
        model: Any module; left as it is. Everything but batch norms runs in eval mode.
        batch: One batch, as in `Subject`; the larger, the better the running statistics can be judged.
        forward: ``(model, batch) -> outputs`` for models that are not simply called.

    Returns:
        `Audit`: a row for each norm, and a table as its text.

    Raises:
        SubjectError: if the batch does not fit the model, or gives a batch norm a single value a channel.

    Validity:
        A norm that is called several times is judged by its first call. Norms that are functions are named in
        ``left``; those, and norms that are written out, have their figures in `gainstage.record`'s trace.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16))
        >>> row = audit(net, torch.randn(32, 8)).norms[0]
        >>> row.layer, row.values, row.dead
        ('0', 32, 0)

    References:
        van Laarhoven 2017, L2 Regularization versus Batch and Weight Normalization; Hoffer et al. 2018, Norm matters.
    """
    sites = {site.path: site for site in norm_sites(model)}
    places = {id(site.module) for site in sites.values()}
    seen = wiring(model, batch, lambda module: is_map(module) or id(module) in places, forward=forward)
    layers = {path: _layer_before(seen, path, model) for path in sites}
    inputs = _Inputs(sites, {layer for layer in layers.values() if layer})
    _run(model, batch, forward, sites, inputs)
    rows: list[NormAudit] = []
    left: list[Left] = []
    for path, site in sites.items():
        if path not in inputs.norms:
            left.append(Left(path, site.label, site.obstacle or "it did not run"))
    for path in inputs.norms:
        rows.append(inputs.norms[path].with_layer(layers[path], model, inputs.levels))
    functions = functional_norms(seen, sites.values(), ("batch_norm", "layer_norm", "group_norm", "rms_norm"))
    return Audit(tuple(rows), (*left, *functions))


def _layer_before(seen: Wiring, path: str, model: nn.Module) -> str:
    """The linear or convolutional layer whose output the norm's first call reads, and nobody else; else ""."""
    calls = seen.calls(path)
    source = one_source(seen, calls[0].reads[0]) if calls and calls[0].reads else ""
    if isinstance(source, str) or source[0].op or not is_map(model.get_submodule(source[0].path)):
        return ""
    alone = len(seen.readers(source[0].returns[0].value)) == 1
    return source[0].path if alone else ""


def _run(
    model: nn.Module, batch: Any, forward: AnyForward | None, sites: Mapping[str, NormSite], inputs: _Inputs
) -> None:
    watched = {path: model.get_submodule(path) for path in {*sites, *inputs.layers}}
    with undisturbed(model, seed=0), seeing_inputs(watched, inputs.see):
        set_mode(model.modules(), training=False)
        set_mode((s.module for s in sites.values() if s.kind in ("batch", "sync_batch")), training=True)
        try:
            outputs_of(model, batch, forward)
        except ValueError as error:  # in eval mode the model ran on it
            raise SubjectError(
                f"audit: the batch must do for batch norms in training, got {' '.join(str(error).split())}. "
                "Pass two samples at least."
            ) from error


@dataclass
class _Seen:
    """What one norm read, reduced there and then."""

    site: NormSite
    values: int
    dead: int
    level: float
    agreement: Agreement | None

    def with_layer(self, layer: str, model: nn.Module, levels: Mapping[str, float]) -> NormAudit:
        before = levels.get(layer)
        module = model.get_submodule(layer) if layer else None
        return NormAudit(
            self.site.path, self.site.kind, self.values, self.site.channels, self.dead, self.level, layer,
            self.level / before if before else None,
            None if module is None else _effective_lr_scale(self.site, cast("Map", module)), self.agreement,
        )  # fmt: skip


class _Inputs:
    """Sees what norms and the layers before them read, and keeps figures of the first call of each."""

    def __init__(self, sites: Mapping[str, NormSite], layers: set[str]) -> None:
        self.sites, self.layers = sites, layers
        self.norms: dict[str, _Seen] = {}
        self.levels: dict[str, float] = {}

    def see(self, path: str, x: torch.Tensor) -> None:
        """Notes an input; later calls of the same module do not count."""
        if path in self.layers and path not in self.levels:
            self.levels[path] = _rms(x)
        site = self.sites.get(path)
        if site is not None and path not in self.norms and site.channels and x.ndim >= 2:
            self.norms[path] = _seen(site, x)


def _rms(x: torch.Tensor) -> float:
    return math.sqrt(float(x.double().square().mean())) if x.numel() else 0.0


def _seen(site: NormSite, x: torch.Tensor) -> _Seen:
    groups = getattr(site.module, "num_groups", 1)
    positions = x.numel() // max(1, x.shape[0] * site.channels)
    values = {
        "batch": x.shape[0] * positions, "sync_batch": x.shape[0] * positions, "frozen_batch": x.shape[0] * positions,
        "instance": positions, "group": positions * site.channels // groups, "layer": site.channels,
        "rms": site.channels,
    }[site.kind]  # fmt: skip
    first = x.double().movedim(site.channel_dim, 1)
    return _Seen(site, values, _dead(site, first), _rms(x), _agreement(site, first))


def _dead(site: NormSite, x: torch.Tensor) -> int:
    """Channels whose normalised and scaled values vary by less than `DEAD`."""
    dims = [dim for dim in range(x.ndim) if dim != 1]
    var = x.var(dims, correction=0)
    own = site.kind in ("batch", "sync_batch", "frozen_batch", "instance")
    whole = var if own else (x.square().mean() if site.kind == "rms" else x.var(correction=0))
    std = (var / (whole + site.eps)).sqrt()
    weight = site.tensor("weight")
    return int(((std if weight is None else std * weight.detach().double().abs().flatten()) < DEAD).sum())


def _agreement(site: NormSite, x: torch.Tensor) -> Agreement | None:
    mean, var = site.tensor("running_mean"), site.tensor("running_var")
    if mean is None or var is None or site.kind == "instance":
        return None
    tracked = site.tensor("num_batches_tracked")
    momentum: Any = getattr(site.module, "momentum", 0.1)
    return agreement(x, mean, var, momentum, None if tracked is None else int(tracked))


def _effective_lr_scale(site: NormSite, layer: Map) -> float | None:
    """Geometric mean of 1/‖w‖² over the rows, groups of rows, or the one set of them, that are normalised together."""
    rows = out_rows(layer).square().sum(1)
    per_channel = site.kind in ("batch", "sync_batch", "frozen_batch", "instance")
    if not per_channel:
        # What all have in common scales along: the bias is one of the weights there.
        rows = rows if layer.bias is None else rows + layer.bias.detach().double().square()
        groups = getattr(site.module, "num_groups", 1)
        rows = rows.view(groups, -1).sum(1) if len(rows) % groups == 0 else rows.sum().view(1)
    rows = rows[rows > 0]
    return float((-rows.log()).mean().exp()) if len(rows) else None
