"""Batch norms taken into the linear and convolutional layers around them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from gainstage.errors import InputError
from gainstage.norm.surgery.copying import hooked, operated, owners, put_in_place
from gainstage.norm.surgery.freezing import hold_statistics
from gainstage.norm.surgery.maps import (
    Affine,
    Map,
    before_obstacle,
    channel_dim,
    fold_before,
    fold_behind,
    is_map,
    map_obstacle,
    misfit,
    out_channels,
)
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.sites import BATCH, NormSite, norm_sites
from gainstage.norm.surgery.tracks import all_readers, functional_norms, one_source, sample_batch
from gainstage.trace import call
from gainstage.trace.running import AnyForward
from gainstage.trace.wiring import Node, View, Wiring, wiring


@dataclass(frozen=True, eq=False, repr=False)
class Folded(Surgery):
    """What `fold` did.

    Attributes:
        deviation: Largest difference between the outputs of the old and the new model on the batch, in units of the
            largest old output, over all floating tensors that the model returns.
    """

    deviation: float = 0.0

    def closing(self) -> list[str]:
        """With the deviation."""
        return [*super().closing(), f"  outputs differ by {self.deviation:.2g} of their largest value on the batch"]


def fold(
    model: nn.Module, batch: Any = None, *, forward: AnyForward | None = None, tolerance: float = 1e-3,
    inplace: bool = False,
) -> Folded:  # fmt: skip
    """Returns the model in eval mode with its batch norms taken into the layers before or behind them.

    Behind a layer y = W x + b a norm with running statistics is s y + t with s = γ/√(σ² + ε), t = β - s μ:
    W ← s W, b ← s b + t, row by row. Before a layer: W ← W s, b ← b + W t. Which layer stands before or behind, and
    who else reads in between, is seen in one forward pass in eval mode, not guessed from names or registration. Sums
    are done in float64. What a class of norms adds to its forward (an activation) stays in its place.

    Args:
        model: Any module; its copy is put into eval mode, for which alone the result holds.
        batch: One batch, as in `Subject`; None: one is made from the first layers' signatures.
        forward: ``(model, batch) -> outputs`` for models that are not simply called.
        tolerance: The largest `Folded.deviation` that is let pass; for types of less than 32 bits at least 64 units
            of their precision.
        inplace: Change the model itself.

    Returns:
        `Folded`: every batch norm is in ``changed`` or in ``left``, with the reason; also those called as functions.

    Raises:
        InputError: if the model cannot be copied, no batch can be made, or the outputs differ by more than the
            tolerance (then a model changed in place is spoilt).
        SubjectError: if the batch does not fit the model.

    Validity:
        For all inputs that take the same way through the model as the batch did. Outputs differ by rounding: a norm
        whose running variance is far below that of its channel magnifies it.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        >>> result = fold(net, torch.randn(2, 3, 8, 8))
        >>> result.model[1], result.deviation < 1e-5
        (Identity(), True)

    References:
        Jacob et al. 2018, Quantization and Training of Neural Networks, section 3.2.
    """
    model = operated("fold", model, inplace=inplace)
    batch = sample_batch("fold", model, forward) if batch is None else batch
    first: Wiring | None = None
    changed: list[Change] = []
    while True:
        sites = [site for site in norm_sites(model) if site.kind in BATCH]
        seen = _watched(model, batch, forward, sites)
        first = first or seen
        plan = _Plan(model, seen)
        left = [plan.folded(site) for site in sites]
        if not plan.substitutes:
            break
        # A norm of a norm's output stands behind a layer only when the first is gone: look once more.
        changed += [_change(site) for site, why in zip(sites, left, strict=True) if why is None]
        model = put_in_place("fold", model, plan.substitutes)
        del plan
    deviation = _deviation(first.outputs, seen.outputs)
    _require_close(deviation, max(tolerance, _rounding(model)))
    remaining = tuple(why for why in left if why is not None)
    functions = functional_norms(seen, norm_sites(model), ("batch_norm",))
    return Folded("fold", model.eval(), tuple(changed), (*remaining, *functions), deviation=deviation)


def _watched(model: nn.Module, batch: Any, forward: AnyForward | None, sites: Sequence[NormSite]) -> Wiring:
    places = {id(site.module) for site in sites}
    return wiring(model, batch, lambda module: is_map(module) or id(module) in places, forward=forward)


def _change(site: NormSite) -> Change:
    return Change(site.path, f"{site.label} folded", "what it adds stays" if site.extras else "")


class _Plan:
    """Folds norm by norm, and keeps in mind what takes their places."""

    def __init__(self, model: nn.Module, seen: Wiring) -> None:
        self.modules = dict(model.named_modules())
        self.owners = owners(model)
        self.seen = seen
        self.substitutes: dict[int, nn.Module] = {}

    def folded(self, site: NormSite) -> Left | None:
        """Folds one norm, or says why not."""
        calls = self.seen.calls(site.path)
        reason = _norm_obstacle(site, calls)
        if not reason:
            affine = _affine(site)
            behind = self._into_previous(calls, affine)
            reason = behind and self._into_next(site, calls, affine, behind)
        if reason:
            return Left(site.path, site.label, reason)
        self.substitutes[id(site.module)] = _rest(site)
        return None

    def _into_previous(self, calls: tuple[Node, ...], affine: Affine) -> str:
        """Puts the norm into the layer whose output it reads; returns why not, or ""."""
        sources = [one_source(self.seen, node.reads[0]) for node in calls]
        found = [source for source in sources if not isinstance(source, str)]
        if len(found) < len(sources):
            return next(source for source in sources if isinstance(source, str))
        paths = {node.path for node, _ in found}
        module = self.modules.get(found[0][0].path)
        if len(paths) > 1 or module is None or not is_map(module) or found[0][0].op:
            names = ", ".join(sorted(str(node) for node, _ in found)[:2])
            return f"it reads {names}, which is no layer that it fits into"
        layer = cast("Map", module)
        own = {node.returns[0].value for node in self.seen.calls(found[0][0].path)}
        if own != {node.returns[0].value for node, _ in found}:
            return f"{found[0][0].path} also runs without it"
        for (node, _), reading in zip(found, calls, strict=True):
            reason = self._alone(node.returns[0], reading, layer, node)
            if reason:
                return reason
        reason = map_obstacle(layer, self.owners) or misfit(layer, affine, before=False)
        if reason:
            return f"{found[0][0].path}: {reason}"
        fold_behind(layer, affine)
        return ""

    def _alone(self, output: View, reading: Node, layer: Map, node: Node) -> str:
        """Why what lies between a layer's output and the norm that reads it is not for the two alone, or ""."""
        dim = channel_dim(layer, len(output.shape))
        if out_channels(layer) != reading.reads[0].shape[1] or not self._aligned(output, dim, reading.reads[0]):
            return f"its channels are not those of {node.path}"
        others = all_readers(self.seen, output.value, reading)
        return f"{others} also reads {node.path}" if others else ""

    def _aligned(self, output: View, dim: int, read: View) -> bool:
        source = one_source(self.seen, read)
        assert not isinstance(source, str)
        return source[1].same_channels(1, output, dim)

    def _into_next(self, site: NormSite, calls: tuple[Node, ...], affine: Affine, behind: str) -> str:
        """Puts the norm into every layer that reads it; returns why it went neither there nor behind, or ""."""
        layers: dict[str, tuple[Map, Affine]] = {}
        if site.extras:
            return f"{behind}; behind it comes its own {site.extras[0][0]}"
        for node in calls:
            output = node.returns[0]
            if output.value in self.seen.visible:
                return f"{behind}; the model returns or keeps what it returns"
            readers = self.seen.readers(output.value)
            for reader in readers:
                fitted = self._fitted(reader, output, affine)
                if isinstance(fitted, str):
                    return f"{behind}; {fitted}"
                layers[reader.path] = fitted
            if not readers:
                return f"{behind}; nobody reads it"
        own = {node.returns[0].value for node in calls}
        for path in layers:
            if any(reading.reads[0].value not in own for reading in self.seen.calls(path)):
                return f"{behind}; {path} also runs without it"
        for layer, fitting in layers.values():
            fold_before(layer, fitting)
        return ""

    def _fitted(self, reader: Node, output: View, affine: Affine) -> tuple[Map, Affine] | str:
        """The layer with the scale and shift of its own inputs, or why they do not fit."""
        module = self.modules.get(reader.path)
        if reader.op or module is None or not is_map(module):
            return f"{reader} reads it"
        layer, read = cast("Map", module), reader.reads[0]
        if [view.value for view in reader.reads].count(output.value) != 1 or read.value != output.value:
            return f"{reader} reads it other than as its input"
        fitting = _of_inputs(layer, read, output, affine)
        if fitting is None:
            return f"its channels are not those of {reader.path}"
        reason = map_obstacle(layer, self.owners) or before_obstacle(layer, fitting)
        reason = reason or misfit(layer, fitting, before=True)
        return f"{reader.path}: {reason}" if reason else (layer, fitting)


def _of_inputs(layer: Map, read: View, output: View, affine: Affine) -> Affine | None:
    """Scale and shift of each input of the layer; several in a row share a channel where maps were flattened."""
    if not isinstance(layer, nn.Linear):
        same = len(read.shape) == layer.weight.ndim and read.same_channels(1, output, 1)
        return affine if same else None
    channels, step = output.shape[1], max(output.stride[1], 1)
    features = read.shape[-1]
    whole = read.dense and output.dense and (read.offset, read.count) == (output.offset, output.count)
    if not whole or (read.stride[-1] != 1 and features > 1) or features % (channels * step):
        return None
    index = (torch.arange(features, device=affine.scale.device) // step) % channels
    return Affine(affine.scale[index], affine.shift[index])


def _norm_obstacle(site: NormSite, calls: tuple[Node, ...]) -> str:
    if site.obstacle:
        return site.obstacle
    if not calls:
        return "it did not run"
    if site.tensor("running_mean") is None or site.tensor("running_var") is None:
        return "it has no running statistics: it applies those of the batch in eval mode too"
    if any(not node.reads or len(node.returns) != 1 for node in calls):
        return "what it reads does not depend on the batch"
    before = (hook for hook in vars(site.module)["_forward_pre_hooks"].values() if hook is not hold_statistics)
    return "a hook sees or changes its values" if hooked(site.module) or next(before, None) is not None else ""


def _affine(site: NormSite) -> Affine:
    mean, var = site.tensor("running_mean"), site.tensor("running_var")
    assert mean is not None
    assert var is not None
    weight, bias = site.tensor("weight"), site.tensor("bias")
    scale = (var.detach().double() + site.eps).rsqrt()
    scale = scale if weight is None else scale * weight.detach().double()
    shift = -scale * mean.detach().double()
    return Affine(scale, shift if bias is None else shift + bias.detach().double())


def _rest(site: NormSite) -> nn.Module:
    """What remains of the norm: what its class adds."""
    if not site.extras:
        return nn.Identity()
    return nn.Sequential(OrderedDict(site.extras))


def _deviation(before: Any, after: Any) -> float:
    """Largest difference, in units of the largest value of its tensor."""
    worst = 0.0
    for (_, old), (_, new) in zip(call.tensors_of(before), call.tensors_of(after), strict=True):
        if not (old.is_floating_point() or old.is_complex()) or not old.numel():
            continue
        finite = old.isfinite()
        if old.shape != new.shape or not torch.equal(finite, new.isfinite()):
            return float("inf")
        scale = float(old[finite].abs().max()) if bool(finite.any()) else 0.0
        difference = float((old[finite] - new[finite]).abs().max()) if bool(finite.any()) else 0.0
        worst = max(worst, difference / scale if scale else difference)
    return worst


def _rounding(model: nn.Module) -> float:
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    coarse = max((torch.finfo(dtype).eps for dtype in types), default=0.0)
    return 64 * coarse if coarse > 1e-6 else 0.0


def _require_close(deviation: float, tolerance: float) -> None:
    if not deviation <= tolerance:
        raise InputError(
            f"fold: outputs must stay the same to {tolerance:g} of their scale, got a difference of {deviation:.3g}. "
            "Fold fewer norms, in float64, or raise tolerance= if rounding explains it."
        )
