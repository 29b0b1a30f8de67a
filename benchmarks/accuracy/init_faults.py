"""Faults of the initial weights and biases."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from accuracy.fault import fault
from accuracy.parts import Residual
from accuracy.setup import (
    ACTIVATIONS,
    MAPS,
    RECTIFIERS,
    Setup,
    first_share,
    found,
    hidden_maps,
    hidden_weights,
    middle,
    read_out,
    swapped,
)

TOO_LARGE = "INI002 INI004 INI006 INI010 ACT002 GRD002 NRM006"
TOO_SMALL = "INI002 INI003 GRD001 NRM006 NRM007"


def _scaled_(weights: list[nn.Parameter], factor: float) -> None:
    with torch.no_grad():
        for weight in weights:
            weight.mul_(factor)


@fault("constant-weights", "INI001 INI003 GRD001 GRD003", mild="one", moderate="hidden", gross="all")
def constant_weights(setup: Setup, level: str) -> Setup | None:
    """Every weight of a layer is its standard deviation; gross: every weight and bias is zero."""
    hidden = hidden_weights(setup.model)
    if not hidden:
        return None
    with torch.no_grad():
        for weight in [middle(hidden)] if level == "one" else hidden:
            weight.fill_(float(weight.std()))
        if level == "all":
            for _, module in found(setup.model, MAPS):
                for parameter in module.parameters(recurse=False):
                    parameter.zero_()
    return setup


@fault("gain-up", TOO_LARGE, mild=3.0, moderate=10.0, gross=100.0)
def gain_up(setup: Setup, factor: float) -> Setup | None:
    _scaled_(hidden_weights(setup.model), factor)
    return setup


@fault("gain-down", TOO_SMALL, mild=1 / 3, moderate=0.1, gross=0.01)
def gain_down(setup: Setup, factor: float) -> Setup | None:
    _scaled_(hidden_weights(setup.model), factor)
    return setup


@fault("layer-gain-up", TOO_LARGE, mild=10.0, moderate=100.0, gross=1000.0)
def layer_gain_up(setup: Setup, factor: float) -> Setup | None:
    _scaled_([middle(hidden_weights(setup.model))], factor)
    return setup


@fault("layer-gain-down", TOO_SMALL, mild=0.1, moderate=0.01, gross=0.001)
def layer_gain_down(setup: Setup, factor: float) -> Setup | None:
    _scaled_([middle(hidden_weights(setup.model))], factor)
    return setup


@fault("wrong-scheme", f"{TOO_LARGE} INI003 GRD001 NRM007", mild="uniform", moderate="small", gross="normal")
def wrong_scheme(setup: Setup, scheme: str) -> Setup | None:
    """U(-0.05, 0.05), N(0, 0.01²) or N(0, 1), whatever the fan."""
    for weight in hidden_weights(setup.model):
        if scheme == "uniform":
            nn.init.uniform_(weight, -0.05, 0.05)
        else:
            nn.init.normal_(weight, std={"small": 0.01, "normal": 1.0}[scheme])
    return setup


@fault("large-bias", "INI005 INI004 INI006 INI009 ACT002", mild=1.0, moderate=5.0, gross=30.0)
def large_bias(setup: Setup, size: float) -> Setup | None:
    biased = [module for module in hidden_maps(setup.model) if module.bias is not None]
    if not biased:
        return None
    for module in biased:
        nn.init.constant_(module.bias, size)
    return setup


@fault("read-out-scale", "INI006 INI002 INI004 GRD002", mild=10.0, moderate=30.0, gross=300.0)
def read_out_scale(setup: Setup, factor: float) -> Setup | None:
    _scaled_([read_out(setup.model).weight], factor)
    return setup


@fault("read-out-bias", "INI006 INI005", mild=5.0, gross=100.0)
def read_out_bias(setup: Setup, size: float) -> Setup | None:
    nn.init.normal_(read_out(setup.model).bias, std=size)
    return setup


@fault("cloned-layers", "INI007", mild="two", gross="all")
def cloned_layers(setup: Setup, level: str) -> Setup | None:
    """Maps of one type and shape start as copies of the first of them."""
    maps = [module for _, module in found(setup.model, MAPS)]
    alike = [[other for other in maps if _form(other) == _form(module)] for module in maps]
    largest = max(alike, key=len)
    if len(largest) < 2:
        return None
    for module in largest[1:2] if level == "two" else largest[1:]:
        module.load_state_dict(copy.deepcopy(largest[0].state_dict()))
    return setup


def _form(module: nn.Module) -> tuple[object, ...]:
    return (type(module), *[tuple(parameter.shape) for parameter in module.parameters(recurse=False)])


@fault("dead-rectifiers", "ACT001 INI005 INI003 GRD001 GRD003", mild=(0.5, 3.0), moderate=(0.9, 3.0), gross=(1.0, 30.0))
def dead_rectifiers(setup: Setup, level: tuple[float, float]) -> Setup | None:
    """A share of the units of each map before a rectifier gets a bias far below zero."""
    modules = [module for _, module in found(setup.model, (*MAPS, *RECTIFIERS))]
    maps = [before for before, after in pairwise(modules) if isinstance(after, nn.ReLU)]
    rectified: list[Any] = [module for module in maps if isinstance(module, MAPS) and module.bias is not None]
    if not rectified:
        return None
    share, size = level
    for module in rectified:
        picked = torch.randperm(len(module.bias))[: round(share * len(module.bias))]
        with torch.no_grad():
            module.bias[picked] = -size
    return setup


@fault("saturated", "ACT002 INI002 INI004 INI005 GRD001", mild=10.0, moderate=30.0, gross=100.0)
def saturated(setup: Setup, factor: float) -> Setup | None:
    """Weights and biases before bounded activations, of recurrent layers too, are far too large."""
    if not found(setup.model, (nn.Tanh, nn.Sigmoid, nn.RNNBase)):
        return None
    _scaled_(hidden_weights(setup.model), factor)
    _scaled_([module.bias for module in hidden_maps(setup.model) if module.bias is not None], factor)
    return setup


@fault("mean-shifted-weights", "INI009 INI002 INI004 INI005 INI006 GRD002 GRD004", mild=0.3, moderate=1.0, gross=3.0)
def mean_shifted_weights(setup: Setup, share: float) -> Setup | None:
    """All weights of the hidden layers are moved the same way, by a share of their standard deviation."""
    with torch.no_grad():
        for weight in hidden_weights(setup.model):
            weight.add_(share * weight.std())
    return setup


@fault("residual-growth", "INI010 INI002 INI004 INI006 GRD002", mild=3.0, moderate=6.0, gross=20.0)
def residual_growth(setup: Setup, factor: float) -> Setup | None:
    """The scale of branches that have one is too large."""
    scaled = [module for _, module in found(setup.model, (Residual,)) if module.scale != 1.0]
    for module in scaled:
        module.scale = module.scale * factor
    return setup if scaled else None


@fault("deep-and-plain", "INI003 INI002 INI009 GRD001", mild=8, moderate=20, gross=40)
def deep_and_plain(setup: Setup, blocks: int) -> Setup | None:
    """Many more layers without norms, at torch's default initialization."""
    if setup.deeper is None or not _plain(setup.model):
        return None
    return _with_model(setup, setup.deeper(blocks))


@fault("deep-batch-norm", "NRM012 GRD002", mild=12, moderate=24, gross=40)
def deep_batch_norm(setup: Setup, blocks: int) -> Setup | None:
    """Many more batch-normed layers without skips."""
    if setup.deeper is None or not found(setup.model, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return None
    return _with_model(setup, setup.deeper(blocks))


@fault("sigmoids-throughout", "GRD001 INI002 INI003 INI009 ACT002", moderate="half", gross="all")
def sigmoids_throughout(setup: Setup, level: str) -> Setup | None:
    """Activations of a network of several layers become sigmoids, at the weights for what was there."""
    activations = found(setup.model, ACTIVATIONS)
    hidden = activations[:-1] if setup.threshold else activations
    if len(hidden) < 2 or all(isinstance(module, nn.Sigmoid) for _, module in hidden):
        return None
    for path, _ in first_share(hidden, 0.5 if level == "half" else 1.0):
        swapped(setup.model, path, nn.Sigmoid())
    return setup


def _plain(model: nn.Module) -> bool:
    return not [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm))]


def _with_model(setup: Setup, model: nn.Module) -> Setup:
    return replace(setup, model=model)


INIT_FAULTS = (
    constant_weights, gain_up, gain_down, layer_gain_up, layer_gain_down, wrong_scheme, large_bias, read_out_scale,
    read_out_bias, cloned_layers, dead_rectifiers, saturated, mean_shifted_weights, residual_growth, deep_and_plain,
    deep_batch_norm, sigmoids_throughout,
)  # fmt: skip
