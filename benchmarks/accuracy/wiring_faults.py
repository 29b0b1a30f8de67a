"""Faults of activations, of how the network meets its loss, and of its wiring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from accuracy.fault import LEVELS, fault
from accuracy.setup import ACTIVATIONS, Setup, first_share, found, hidden_maps, read_out, swapped


class Followed(nn.Module):
    """A model and what is done to its outputs."""

    def __init__(self, model: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.model, self.after = model, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.model(x))


class Detached(nn.Module):
    """Cuts the graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


class WithoutGradient(nn.Module):
    """A module under no_grad."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.inner(x)


class Logarithm(nn.Module):
    """The logarithm of what may be zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=0).log()


class Root(nn.Module):
    """The root of what may be zero: its gradient is infinite there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=0).sqrt()


class Ratio(nn.Module):
    """Divided by what is zero in some samples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.clamp(min=0).amax(-1, keepdim=True)


class HalfPrecision(nn.Module):
    """A model whose maps run in float16, as under autocast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.float16):
            return self.model(x).float()


def _followed(setup: Setup, after: nn.Module) -> Setup:
    return replace(setup, model=Followed(setup.model, after))


@fault("no-activation", "ACT003", mild=1 / 3, moderate=2 / 3, gross=1.0)
def no_activation(setup: Setup, share: float) -> Setup | None:
    """The first of the activations are left out."""
    activations = [path for path, _ in found(setup.model, ACTIVATIONS)]
    activations = activations[:-1] if setup.threshold else activations
    if not activations or (len(activations) == 1 and share < 1):
        return None
    for path in first_share(activations, share):
        swapped(setup.model, path, nn.Identity())
    return setup


@fault("softmax-before-cross-entropy", "ACT004", mild="log", gross="softmax")
def softmax_first(setup: Setup, level: str) -> Setup | None:
    if setup.kind != "classes":
        return None
    return _followed(setup, nn.LogSoftmax(-1) if level == "log" else nn.Softmax(-1))


@fault("sigmoid-before-logits-loss", "ACT004", gross="sigmoid")
def sigmoid_first(setup: Setup, _: str) -> Setup | None:
    if setup.loss is not F.binary_cross_entropy_with_logits:
        return None
    return replace(_followed(setup, nn.Sigmoid()), threshold=0.5)


@fault("no-sigmoid-before-bce", "ACT004 NUM001", gross="none")
def no_sigmoid(setup: Setup, _: str) -> Setup | None:
    if setup.kind != "binary":
        return None
    model = setup.model
    if isinstance(model, nn.Sequential) and isinstance(model[-1], nn.Sigmoid):
        model = model[:-1]
    return replace(setup, model=model, loss=F.binary_cross_entropy, threshold=0.5)


@fault("bounded-outputs", "ACT004 ACT001 ACT002 DAT003", mild="tanh", moderate="sigmoid", gross="relu")
def bounded_outputs(setup: Setup, level: str) -> Setup | None:
    """Logits, or predictions of unbounded targets, pass an activation."""
    if setup.kind == "binary":
        return None
    return _followed(setup, {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "relu": nn.ReLU()}[level])


def _around(setup: Setup, depth: float, around: Callable[[nn.Module], nn.Module]) -> Setup | None:
    """A hidden map, from the first to the last, in a module of its own."""
    hidden = hidden_maps(setup.model)
    # torch's encoder layers ask their maps for weights, which a module around them has not.
    if not hidden or found(setup.model, (nn.TransformerEncoder,)):
        return None
    target = hidden[round(depth * (len(hidden) - 1))]
    path = next(name for name, module in setup.model.named_modules() if module is target)
    swapped(setup.model, path, around(target))
    return setup


@fault("detached", "GRD003", mild=0.0, gross=1.0)
def detached(setup: Setup, depth: float) -> Setup | None:
    """The graph is cut behind the first hidden map, or the last."""
    return _around(setup, depth, lambda module: nn.Sequential(module, Detached()))


@fault("under-no-grad", "GRD003", moderate=0.5, meant=("moderate",))
def under_no_grad(setup: Setup, depth: float) -> Setup | None:
    """A hidden map runs under no_grad."""
    return _around(setup, depth, WithoutGradient)


@fault("frozen", "GRD003 OPT006", mild=0.3, moderate=0.7, gross=1.0, meant=LEVELS)
def frozen(setup: Setup, share: float) -> Setup | None:
    """Parameters of the first modules are frozen at their random values; gross: of all but the read-out."""
    owners = [m for m in setup.model.modules() if list(m.parameters(recurse=False)) and m is not read_out(setup.model)]
    for module in first_share(owners, share):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return setup


@fault("not-a-number", "NUM001", mild="root", moderate="ratio", gross="logarithm")
def not_a_number(setup: Setup, level: str) -> Setup | None:
    """An operation on the outputs that is not finite, or has no finite gradient, at zero."""
    if setup.kind == "binary":
        return None
    return _followed(setup, {"root": Root(), "ratio": Ratio(), "logarithm": Logarithm()}[level])


@fault("half-precision-overflow", "NUM002 NUM001 INI002 INI004 INI006 DAT001", moderate=3e4, gross=3e5)
def half_precision_overflow(setup: Setup, factor: float) -> Setup | None:
    """float16 under autocast, on activations as large as the factor."""
    if not hidden_maps(setup.model) or found(setup.model, (nn.RNNBase, nn.TransformerEncoder)):
        return None
    with torch.no_grad():
        hidden_maps(setup.model)[0].weight.mul_(factor)
    return replace(setup, model=HalfPrecision(setup.model))


WIRING_FAULTS = (
    no_activation, softmax_first, sigmoid_first, no_sigmoid, bounded_outputs, detached, under_no_grad, frozen,
    not_a_number, half_precision_overflow,
)  # fmt: skip
