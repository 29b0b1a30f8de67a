"""Faults of normalization."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from accuracy.fault import fault
from accuracy.parts import Residual
from accuracy.setup import BATCH_NORMS, MAPS, NORMS, Setup, first_share, found, read_out, swapped


class AlwaysEval1d(nn.BatchNorm1d):
    """Stays in eval mode."""

    def train(self, mode: bool = True) -> AlwaysEval1d:  # noqa: ARG002
        super().train(False)
        return self


class AlwaysEval2d(nn.BatchNorm2d):
    """Stays in eval mode."""

    def train(self, mode: bool = True) -> AlwaysEval2d:  # noqa: ARG002
        super().train(False)
        return self


def _batch_norms(setup: Setup) -> list[tuple[str, Any]]:
    return found(setup.model, BATCH_NORMS)


@fault("batch-norm-in-eval-mode", "NRM001 NRM002", mild=0.01, moderate=0.5, gross=1.0)
def in_eval_mode(setup: Setup, share: float) -> Setup | None:
    """Fresh batch norms that do not leave eval mode: the first, half or all of them."""
    norms = _batch_norms(setup)
    if not norms:
        return None
    for _, norm in first_share(norms, share):
        norm.__class__ = {nn.BatchNorm1d: AlwaysEval1d, nn.BatchNorm2d: AlwaysEval2d}[type(norm)]
        norm.train()
    return setup


@fault("norm-momentum", "NRM010 NRM002", mild=0.003, moderate=0.0005, gross=0.0)
def norm_momentum(setup: Setup, momentum: float) -> Setup | None:
    norms = _batch_norms(setup)
    for _, norm in norms:
        norm.momentum = momentum
    return setup if norms else None


@fault("tiny-batch", "NRM003", mild=4, moderate=2, gross=1)
def tiny_batch(setup: Setup, size: int) -> Setup | None:
    return replace(setup, batch_size=size) if _batch_norms(setup) else None


@fault("dropout-before-norm", "NRM008 NRM002", mild=0.2, moderate=0.5, gross=0.8)
def dropout_before_norm(setup: Setup, rate: float) -> Setup | None:
    norms = _batch_norms(setup)
    for path, norm in norms:
        swapped(setup.model, path, nn.Sequential(nn.Dropout(rate), norm))
    return setup if norms else None


@fault("shared-norm", "NRM009 NRM002", mild=2, gross=100)
def shared_norm(setup: Setup, places: int) -> Setup | None:
    """One batch norm at several places with as many channels."""
    norms = _batch_norms(setup)
    alike = [[path for path, norm in norms if norm.num_features == other.num_features] for _, other in norms]
    largest = max(alike, key=len, default=[])
    if len(largest) < 2:
        return None
    shared = setup.model.get_submodule(largest[0])
    for path in largest[1:places]:
        swapped(setup.model, path, shared)
    return setup


@fault("degenerate-group", "NRM013 INI003 GRD001 GRD003", gross="read-out")
def degenerate_group(setup: Setup, _: str) -> Setup | None:
    """A group norm with a group for each of the features that the read-out is given."""
    head = read_out(setup.model)
    flat = setup.kind != "values" and not found(setup.model, (nn.RNNBase, nn.TransformerEncoder, nn.Conv1d))
    if not isinstance(head, nn.Linear) or not flat:
        return None
    path = next(name for name, module in setup.model.named_modules() if module is head)
    swapped(setup.model, path, nn.Sequential(nn.GroupNorm(head.in_features, head.in_features), head))
    return setup


@fault("zero-gamma", "NRM015 INI003 GRD001 GRD003", mild=0.01, gross=1.0)
def zero_gamma(setup: Setup, share: float) -> Setup | None:
    """Norms outside of residual branches start with a scale of zero: the last of them, or all."""
    inside = tuple(path for path, _ in found(setup.model, (Residual, nn.TransformerEncoder)))
    norms = [norm for path, norm in found(setup.model, NORMS) if not path.startswith(inside or ("-",))]
    if not norms:
        return None
    for norm in first_share(norms[::-1], share):
        nn.init.zeros_(norm.weight)
    return setup


@fault("dead-channels", "NRM007 NRM006 INI002 INI003", mild=1e-3, moderate=1e-5, gross=1e-7)
def dead_channels(setup: Setup, factor: float) -> Setup | None:
    """Maps before batch norms are scaled so far down that epsilon decides."""
    modules = [module for _, module in found(setup.model, (*MAPS, *BATCH_NORMS))]
    normed = [m for m, after in pairwise(modules) if isinstance(after, BATCH_NORMS)]
    with torch.no_grad():
        for module in normed:
            for parameter in module.parameters():
                parameter.mul_(factor)
    return setup if normed else None


NORM_FAULTS = (
    in_eval_mode, norm_momentum, tiny_batch, dropout_before_norm, shared_norm, degenerate_group, zero_gamma,
    dead_channels,
)  # fmt: skip
