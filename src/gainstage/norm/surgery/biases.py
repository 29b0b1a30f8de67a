"""Biases that a norm behind them takes away again."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from gainstage.norm.surgery.copying import operated, owners
from gainstage.norm.surgery.maps import Map, channel_dim, is_map, map_obstacle, out_channels
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.sites import NormSite, norm_sites
from gainstage.norm.surgery.tracks import all_readers, one_source, sample_batch
from gainstage.trace.running import AnyForward
from gainstage.trace.wiring import Node, Wiring, wiring


def drop_redundant_biases(
    model: nn.Module, batch: Any = None, *, forward: AnyForward | None = None, inplace: bool = False
) -> Surgery:
    """Returns the model without the biases that the norm behind their layer takes away.

    A constant added to a channel leaves x - mean(x) as it is where the mean is over that channel alone: in batch norm,
    in instance norm, and in group norm with one channel a group. Running means are lowered by the bias, so that eval
    mode stays the same too. Layer norm, and group norm of several channels, take away only what all channels of a
    group have in common, and RMS norm nothing: biases before these are left.

    Args:
        model: Any module.
        batch: One batch, as in `Subject`; None: one is made from the first layers' signatures. It shows in one pass
            in eval mode which norm reads which layer, and whether anyone else does.
        forward: ``(model, batch) -> outputs`` for models that are not simply called.
        inplace: Change the model itself.

    Returns:
        `Surgery`: layers that lost their bias, and layers before a norm that keep theirs, with the reason.

    Raises:
        InputError: if the model cannot be copied or no batch can be made.
        SubjectError: if the batch does not fit the model.

    Validity:
        The bias leaves ``parameters()``: make the optimizer afterwards. A batch norm that is frozen in training needs
        no bias before it either, as its own shift can be trained.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> [change.module for change in drop_redundant_biases(net, torch.randn(2, 3, 8, 8)).changed]
        ['0']

    References:
        Ioffe and Szegedy 2015, Batch Normalization, section 3.2.
    """
    model = operated("drop_redundant_biases", model, inplace=inplace)
    batch = sample_batch("drop_redundant_biases", model, forward) if batch is None else batch
    sites = {site.path: site for site in norm_sites(model)}
    places = {id(site.module) for site in sites.values()}
    seen = wiring(model, batch, lambda module: is_map(module) or id(module) in places, forward=forward)
    known = owners(model)
    changed: list[Change] = []
    left: list[Left] = []
    for path, module in model.named_modules():
        if not is_map(module) or module.bias is None:
            continue
        layer = cast("Map", module)
        norms = _norms_behind(seen, path, sites)
        if not norms:
            continue
        reason = map_obstacle(layer, known) or _kept(seen, path, layer, norms)
        if reason:
            left.append(Left(path, type(module).__name__, reason))
            continue
        _drop(layer, norms[0])
        changed.append(Change(path, f"{type(module).__name__} without bias", f"behind it {norms[0].label}"))
    return Surgery("drop_redundant_biases", model, tuple(changed), tuple(left))


def _norms_behind(seen: Wiring, path: str, sites: dict[str, NormSite]) -> list[NormSite]:
    """The norms that read the layer, each once."""
    found: dict[str, NormSite] = {}
    for node in seen.calls(path):
        for view in node.returns:
            for reader in _reading(seen, view.value):
                if not reader.op and reader.path in sites:
                    found[reader.path] = sites[reader.path]
    return list(found.values())


def _reading(seen: Wiring, value: int) -> list[Node]:
    """Readers, through copies."""
    found: list[Node] = []
    for node in seen.readers(value):
        found += _reading(seen, node.returns[0].value) if node.op == "clone" else [node]
    return found


def _kept(seen: Wiring, path: str, layer: Map, norms: list[NormSite]) -> str:
    """Why the bias is needed, or ""."""
    if len(norms) > 1:
        return f"{len(norms)} norms read it"
    site = norms[0]
    if not _centres_each_channel(site):
        return f"{site.label} ({site.path}) takes away only what all its channels have in common"
    if site.obstacle:
        return f"{site.path}: {site.obstacle}"
    fed: set[int] = set()
    for node in seen.calls(site.path):
        source = one_source(seen, node.reads[0]) if node.reads else "it reads nothing of the batch"
        if isinstance(source, str) or source[0].path != path or source[0].op:
            return f"{site.path} also reads other layers"
        output = source[0].returns[0]
        fed.add(output.value)
        dim = channel_dim(layer, len(output.shape))
        if out_channels(layer) != site.channels or not source[1].same_channels(1, output, dim):
            return f"its channels are not those of {site.path}"
        others = all_readers(seen, output.value, node)
        if others:
            return f"{others} also reads it"
    alone = fed == {node.returns[0].value for node in seen.calls(path)}
    return "" if alone else f"it also runs without {site.path}"


def _centres_each_channel(site: NormSite) -> bool:
    if site.kind == "group":
        return cast("nn.GroupNorm", site.module).num_groups == site.channels
    return site.kind in ("batch", "sync_batch", "frozen_batch", "instance")


@torch.no_grad()
def _drop(layer: Map, site: NormSite) -> None:
    mean = site.tensor("running_mean")
    if mean is not None and layer.bias is not None:
        mean.sub_(layer.bias.to(mean))
    layer.register_parameter("bias", None)
