"""Batch norms held at their running statistics, whatever mode the model is in."""

from __future__ import annotations

from typing import Any

from torch import nn

from gainstage.norm.surgery.copying import operated
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.sites import NormSite, norm_sites


def hold_statistics(module: nn.Module, _inputs: Any) -> None:
    """Puts a batch norm into eval mode before it runs: a ``model.train()`` in between changes nothing."""
    if module.training:
        module.training = False


def freeze(model: nn.Module, *, affine: bool = False, inplace: bool = False) -> Surgery:
    """Returns the model with batch norms that apply their running statistics in training too, and keep them.

    Each is held by a hook, so that it stays frozen after ``model.train()``; classes, names and state_dict stay as
    they are, and an activation or a dropout inside a norm's class follows the model's mode as before.

    Args:
        model: Any module.
        affine: Hold scale and shift too: they get no gradients.
        inplace: Change the model itself.

    Returns:
        `Surgery`; norms that have no running statistics are left.

    Raises:
        InputError: if the model cannot be copied.

    Example:
        >>> net = freeze(nn.Sequential(nn.BatchNorm1d(4))).model.train()
        >>> import torch
        >>> _ = net(torch.randn(8, 4) + 3)
        >>> net[0].running_mean
        tensor([0., 0., 0., 0.])
    """
    model = operated("freeze", model, inplace=inplace)
    changed: list[Change] = []
    left: list[Left] = []
    for site in _batch_norms(model):
        if site.tensor("running_mean") is None:
            left.append(Left(site.path, site.label, "it has no running statistics to apply"))
            continue
        if not _held(site.module):
            site.module.register_forward_pre_hook(hold_statistics)
        site.module.training = False
        _set_affine(site, affine, trainable=False)
        changed.append(Change(site.path, f"{site.label} frozen", "scale and shift too" if affine else ""))
    return Surgery("freeze", model, tuple(changed), tuple(left))


def unfreeze(model: nn.Module, *, affine: bool = False, inplace: bool = False) -> Surgery:
    """Returns the model with batch norms that follow its mode again.

    Args:
        model: One that `freeze` returned.
        affine: Let scale and shift have gradients.
        inplace: Change the model itself.

    Returns:
        `Surgery`; batch norms that were not frozen are left. Norms of classes that are always frozen are turned into
        batch norms by ``replace(model, "frozen_batch", "batch")``.

    Raises:
        InputError: if the model cannot be copied.

    Example:
        >>> net = unfreeze(freeze(nn.Sequential(nn.BatchNorm1d(4))).model).model
        >>> net[0].training
        True
    """
    model = operated("unfreeze", model, inplace=inplace)
    changed: list[Change] = []
    left: list[Left] = []
    for site in _batch_norms(model):
        if not _held(site.module):
            left.append(Left(site.path, site.label, "freeze did not hold it"))
            continue
        hooks = vars(site.module)["_forward_pre_hooks"]
        for key in [key for key, hook in hooks.items() if hook is hold_statistics]:
            del hooks[key]
        site.module.training = model.training
        _set_affine(site, affine, trainable=True)
        changed.append(Change(site.path, f"{site.label} unfrozen", "scale and shift too" if affine else ""))
    return Surgery("unfreeze", model, tuple(changed), tuple(left))


def _batch_norms(model: nn.Module) -> list[NormSite]:
    return [site for site in norm_sites(model) if site.kind in ("batch", "sync_batch")]


def _held(module: nn.Module) -> bool:
    return any(hook is hold_statistics for hook in vars(module)["_forward_pre_hooks"].values())


def _set_affine(site: NormSite, affine: bool, *, trainable: bool) -> None:
    for parameter in site.module.parameters(recurse=False) if affine else ():
        parameter.requires_grad_(trainable)
