"""The norms of a model, of torch's classes, of classes made from them, and of others that act alike."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.instancenorm import _InstanceNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.parameter import is_lazy

from gainstage.seeding import preserved_rng
from gainstage.trace.running import set_mode

Kind = Literal["batch", "sync_batch", "frozen_batch", "instance", "group", "layer", "rms"]
KINDS: tuple[Kind, ...] = ("batch", "sync_batch", "frozen_batch", "instance", "group", "layer", "rms")
BATCH: tuple[Kind, ...] = ("batch", "sync_batch", "frozen_batch")

Core = Callable[[nn.Module, torch.Tensor], torch.Tensor]
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, eq=False)
class NormSite:
    """A norm of a model.

    Attributes:
        path: Dotted path, the first of them if it is shared.
        kind: What it normalises over.
        channels: How many; 0 if unknown.
        channel_dim: 1, or -1 where features are last.
        ndim: Number of dimensions that it accepts, None if several.
        extras: Named children that it applies to the normalised values, in order (an activation, a dropout).
        obstacle: Why it cannot be taken apart, or "".
    """

    path: str
    module: nn.Module
    kind: Kind
    channels: int
    channel_dim: int
    ndim: int | None = None
    extras: tuple[tuple[str, nn.Module], ...] = ()
    obstacle: str = ""

    @property
    def eps(self) -> float:
        """The ε that is added to the variance."""
        values = (getattr(self.module, name, None) for name in ("eps", "variance_epsilon"))
        found = next((value for value in values if isinstance(value, float)), None)
        return torch.finfo(torch.float32).eps if found is None else found

    @property
    def label(self) -> str:
        """Its class."""
        return type(self.module).__name__

    def tensor(self, name: str) -> torch.Tensor | None:
        """Its ``weight``, ``bias``, ``running_mean`` or ``running_var``, as it is used; None without."""
        value: Any = getattr(self.module, name, None)
        return value if isinstance(value, torch.Tensor) else None


def norm_sites(model: nn.Module) -> tuple[NormSite, ...]:
    """Every distinct norm module of the model, in order of registration."""
    return tuple(site for path, module in model.named_modules() if (site := norm_site(path, module)) is not None)


def norm_site(path: str, module: nn.Module) -> NormSite | None:
    """The module as a norm; None if it is none."""
    site = _classified(path, module)
    if site is None or site.obstacle:
        return site
    if hasattr(module, "parametrizations"):
        return replace(site, obstacle="its parameters are parametrized; remove the parametrization first")
    return _taken_apart(site)


def _classified(path: str, module: nn.Module) -> NormSite | None:
    if any(is_lazy(tensor) for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
        lazy = isinstance(module, _BatchNorm | _InstanceNorm)
        kind: Kind = "batch" if isinstance(module, _BatchNorm) else "instance"
        reason = "it has no size before its first call; run the model on a batch once"
        return NormSite(path, module, kind, 0, 1, _rank(module), obstacle=reason) if lazy else None
    if isinstance(module, _BatchNorm):
        kind = "sync_batch" if isinstance(module, nn.SyncBatchNorm) else "batch"
        return NormSite(path, module, kind, module.num_features, 1, _rank(module))
    if isinstance(module, _InstanceNorm):
        return NormSite(path, module, "instance", module.num_features, 1, _rank(module))
    if isinstance(module, nn.GroupNorm):
        return NormSite(path, module, "group", module.num_channels, 1)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        kind = "layer" if isinstance(module, nn.LayerNorm) else "rms"
        site = NormSite(path, module, kind, module.normalized_shape[-1], -1)
        several = f"it normalises over several dimensions, {tuple(module.normalized_shape)}"
        return replace(site, obstacle=several) if len(module.normalized_shape) > 1 else site
    return _alike(path, module)


def _alike(path: str, module: nn.Module) -> NormSite | None:
    """Classes of other packages, known by what they hold and confirmed by what they compute."""
    own = {name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))}
    weight: Any = getattr(module, "weight", None)
    if next(module.children(), None) is not None or not isinstance(weight, torch.Tensor) or weight.ndim != 1:
        return None
    channels = len(weight)
    if own >= {"weight", "bias", *_STATISTICS} and next(module.parameters(recurse=False), None) is None:
        # Of any number of dimensions as far as it is written; torchvision's adds two behind the channels.
        return NormSite(path, module, "frozen_batch", channels, 1, 4)
    if own == {"weight"} and "norm" in type(module).__name__.lower():
        return NormSite(path, module, "rms", channels, -1)
    return None


def _rank(module: nn.Module) -> int | None:
    """Dimensions that the class fixes; those for sequences accept two and three."""
    if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.LazyBatchNorm2d, nn.LazyInstanceNorm2d)):
        return 4
    volumes = (nn.BatchNorm3d, nn.InstanceNorm3d, nn.LazyBatchNorm3d, nn.LazyInstanceNorm3d)
    return 5 if isinstance(module, volumes) else None


# --- what a class adds to the forward of the one it is made from


def _taken_apart(site: NormSite) -> NormSite:
    forward = type(site.module).forward
    if inspect.getmodule(forward) is not None and str(forward.__module__).startswith("torch.nn.modules."):
        return site
    children = tuple(site.module.named_children())
    for dim, core in _cores(site.kind):
        if _computes(site, core, children, dim):
            return replace(site, channel_dim=dim, extras=children)
    if site.kind == "batch" and _computes(site, _frozen, children, 1):
        return replace(site, kind="frozen_batch", extras=children)
    added = f"{site.label} does more in its forward than the norm and its children in turn"
    return replace(site, obstacle=f"{added}; pass a function as by= that knows it")


def _cores(kind: Kind) -> Iterator[tuple[int, Core]]:
    if kind in ("batch", "sync_batch"):
        yield 1, cast("Core", _BatchNorm.forward)
    elif kind == "frozen_batch":
        yield 1, _frozen
    elif kind == "instance":
        yield 1, cast("Core", _InstanceNorm.forward)
    elif kind == "group":
        yield 1, cast("Core", nn.GroupNorm.forward)
    elif kind == "layer":
        yield -1, cast("Core", nn.LayerNorm.forward)
        yield 1, lambda module, x: _last(nn.LayerNorm.forward, module, x)
    else:
        yield -1, _rms
        yield 1, lambda module, x: _last(_rms, module, x)


def _last(core: Any, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return core(module, x.movedim(1, -1)).movedim(-1, 1)


def _frozen(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    site = NormSite("", module, "frozen_batch", 0, 1)
    return F.batch_norm(
        x, module.get_buffer("running_mean"), module.get_buffer("running_var"), site.tensor("weight"),
        site.tensor("bias"), eps=site.eps,
    )  # fmt: skip


def _rms(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    site = NormSite("", module, "rms", 0, -1)
    weight = site.tensor("weight")
    normalised = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + site.eps)
    return normalised if weight is None else normalised * weight


def _computes(site: NormSite, core: Core, children: tuple[tuple[str, nn.Module], ...], dim: int) -> bool:
    """Whether the module's forward is the core and then the children, on random values, in both modes."""
    tensors = [*site.module.parameters(recurse=False), *site.module.buffers(recurse=False)]
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
    if like is None or like.is_meta:
        return False
    shape = [4, *[3] * ((site.ndim or (3 if isinstance(site.module, nn.BatchNorm1d) else 4)) - 1)]
    shape[dim] = site.channels
    with torch.no_grad(), preserved_rng(0):
        x = (2 * torch.randn(shape) + 1).to(like)
        try:
            return all(_agree(site.module, core, children, x, training=training) for training in (False, True))
        except Exception:  # not even of this shape
            return False


def _agree(
    module: nn.Module, core: Core, children: tuple[tuple[str, nn.Module], ...], x: torch.Tensor, *, training: bool
) -> bool:
    twins = [_twin(module, training=training) for _ in range(2)]
    expected = core(twins[0], x.clone())
    for name, _ in children:
        expected = getattr(twins[0], name)(expected)
    tolerance = 64 * torch.finfo(x.dtype).eps
    return torch.allclose(twins[1](x.clone()), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def _twin(module: nn.Module, *, training: bool) -> nn.Module:
    """A copy in the given mode with distinct affine parameters, whose children draw nothing at random."""
    twin = copy.deepcopy(module)
    set_mode(twin.modules(), training=False)
    twin.training = training
    for name in ("weight", "bias", *_STATISTICS):
        value: Any = getattr(twin, name, None)
        if isinstance(value, torch.Tensor):
            value.copy_(torch.linspace(0.5, 1.5, value.numel()).view_as(value))
    return twin
