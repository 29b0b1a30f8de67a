"""What a norm can be replaced by, with its affine parameters where they mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from gainstage.errors import InputError, UnknownNameError
from gainstage.norm.surgery.sites import BATCH, NormSite

# A group of two values is normalised to plus and minus one; four are the least that this gives a group by itself.
MOST_GROUPS, LEAST_CHANNELS = 32, 4

Factory = Callable[[nn.Module], nn.Module]
_NAMES = ("group", "layer", "channel_layer", "instance", "batch", "sync_batch", "rms", "identity")
_CLASSES: dict[type[nn.Module], str] = {
    nn.GroupNorm: "group", nn.LayerNorm: "layer", nn.InstanceNorm1d: "instance", nn.InstanceNorm2d: "instance",
    nn.InstanceNorm3d: "instance", nn.SyncBatchNorm: "sync_batch", nn.BatchNorm1d: "batch", nn.BatchNorm2d: "batch",
    nn.BatchNorm3d: "batch", nn.RMSNorm: "rms", nn.Identity: "identity",
}  # fmt: skip


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, ...) alone, at each position by itself, as in ConvNeXt.

    y[n, c, s] = γ_c · (x[n, c, s] - mean_c x)/√(var_c x + ε) + β_c

    Example:
        >>> ChannelLayerNorm(8)(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])

    References:
        Liu et al. 2022, A ConvNet for the 2020s.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Returns the normalised values, in the shape of the input."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def target_name(by: object) -> str:
    """The name of a built-in target; "" for a function that makes one.

    Raises:
        InputError: if ``by`` is none of what can be replaced by.
    """
    if by is None:
        return "identity"
    if isinstance(by, str):
        if by not in _NAMES:
            raise UnknownNameError("replace", "by", by, _NAMES)
        return by
    if isinstance(by, type) and by in _CLASSES:
        return _CLASSES[cast("type[nn.Module]", by)]
    if callable(by) and not isinstance(by, nn.Module):
        return ""
    raise InputError(
        f"replace: by must be a name, a norm class, None or a function (norm) -> module, got {type(by).__name__}. "
        f"Names: {', '.join(_NAMES)}."
    )


def group_count(channels: int, groups: int | None = None, channels_per_group: int | None = None) -> int:
    """The largest divisor of ``channels`` that leaves at least so many channels a group and has at most so many groups.

    Args:
        channels: How many there are.
        groups: At most so many; 32 without.
        channels_per_group: At least so many; 4 without, 1 if ``groups`` is given.

    Returns:
        Number of groups, 1 at least.

    Raises:
        InputError: if one of them is not positive.

    Example:
        >>> group_count(64), group_count(256), group_count(24), group_count(7), group_count(64, groups=32)
        (16, 32, 6, 1, 32)

    References:
        Wu and He 2018, Group Normalization (32 groups, or 16 channels a group).
    """
    for name, value in (("groups", groups), ("channels_per_group", channels_per_group)):
        if value is not None and value < 1:
            raise InputError(f"replace: {name} must be at least 1, got {value}. Leave it out for the default.")
    most = MOST_GROUPS if groups is None and channels_per_group is None else groups or channels
    least = channels_per_group or (LEAST_CHANNELS if groups is None else 1)
    fitting = (count for count in range(min(most, channels), 0, -1) if channels % count == 0)
    return next((count for count in fitting if channels // count >= least), 1)


def substitute(
    site: NormSite, name: str, shape: tuple[int, ...] | None, groups: int | None, channels_per_group: int | None
) -> nn.Module | str:
    """The module that takes the norm's place, without its extras; or why there is none.

    Args:
        site: What is replaced.
        name: Of the target.
        shape: Of its input where it was seen to run.
        groups, channels_per_group: As in `group_count`.
    """
    if name == "identity":
        return nn.Identity()
    first = site.channel_dim == 1 or (shape is not None and len(shape) == 2)
    if name in ("rms", "layer") and site.channel_dim == -1:
        make = nn.RMSNorm if name == "rms" else nn.LayerNorm
        return _carried(site, make(site.channels, eps=site.eps))
    if not first:
        return f"its features are last; {name} norm is for channels in dimension 1"
    if name == "rms":
        return "torch has no RMS norm over channels in dimension 1; pass a function as by="
    ndim = len(shape) if shape is not None else site.ndim
    if name == "channel_layer":
        return _carried(site, ChannelLayerNorm(site.channels, eps=site.eps))
    if name == "sync_batch":
        return _batch_norm(site, nn.SyncBatchNorm)
    if name in ("group", "layer"):
        count = 1 if name == "layer" else group_count(site.channels, groups, channels_per_group)
        single = shape is not None and site.channels == count and torch.Size(shape[2:]).numel() == 1
        return _ONE_VALUE if single else _carried(site, nn.GroupNorm(count, site.channels, eps=site.eps))
    return _of_dimensions(site, name, ndim, shape)


_ONE_VALUE = "each statistic would be of one value: it reads one position"


def _of_dimensions(site: NormSite, name: str, ndim: int | None, shape: tuple[int, ...] | None) -> nn.Module | str:
    """An instance or batch norm, whose class depends on the number of dimensions."""
    if ndim is None:
        return "the number of dimensions that it reads is not known; pass batch= to see it"
    batch_norms = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    instance_norms = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    if name == "batch":
        return _batch_norm(site, batch_norms[ndim]) if ndim in batch_norms else f"torch has none for {ndim} dimensions"
    if ndim not in instance_norms or (shape is not None and torch.Size(shape[2:]).numel() == 1):
        return _ONE_VALUE
    return _carried(site, instance_norms[ndim](site.channels, eps=site.eps, affine=True))


def _batch_norm(site: NormSite, make: Callable[..., nn.Module]) -> nn.Module:
    """A batch norm; from another one the running statistics and the momentum are kept too."""
    old: Any = site.module
    like = site.tensor("running_mean")
    if site.kind not in BATCH:
        return _carried(site, make(site.channels, eps=site.eps))
    momentum = getattr(old, "momentum", 0.1)
    new: Any = make(site.channels, eps=site.eps, momentum=momentum, track_running_stats=like is not None)
    _carried(site, new)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        buffer = getattr(old, name, None)
        if isinstance(buffer, torch.Tensor):
            new._buffers[name] = buffer
    return new


def _carried(site: NormSite, new: nn.Module) -> nn.Module:
    """``new`` with the scale and shift of the old norm: the parameters themselves, so what is tied stays tied."""
    like = next((t for n in ("weight", "bias", "running_mean") if (t := site.tensor(n)) is not None), None)
    if like is not None:
        new.to(device=like.device, dtype=like.dtype)
    for name in ("weight", "bias"):
        value = site.tensor(name)
        if value is not None and not isinstance(value, nn.Parameter):
            value = nn.Parameter(value.detach().clone())
        if name in vars(new)["_parameters"]:
            new.register_parameter(name, value)
    for flag in ("affine", "elementwise_affine"):
        if hasattr(new, flag):
            setattr(new, flag, site.tensor("weight") is not None)
    return new
