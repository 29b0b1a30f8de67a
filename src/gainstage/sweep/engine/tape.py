"""Dense networks read off their modules and computed many at once, layer by layer.

A network that is a composition of known layers on (batch, features) is followed once by torch.fx; its layers then
run stacked, without autograd. It is only used where it was found to equal the modules (`gainstage.sweep.engine.proof`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from gainstage.sweep.engine import layers
from gainstage.sweep.engine.batch_norm import BatchNorm, averages
from gainstage.sweep.engine.layers import Bound, Layer, Values
from gainstage.sweep.engine.rooms import Spares
from gainstage.sweep.engine.stack import Stack
from gainstage.sweep.losses import LossFunction, cross_entropies, losses

_ELEMENTWISE_MODULES = (
    nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign,
    nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink,
)  # fmt: skip
_RELU_FUNCTIONS = (F.relu, torch.relu)
_ELEMENTWISE_FUNCTIONS = (
    F.gelu, F.silu, F.leaky_relu, F.elu, F.selu, F.mish, F.softplus, F.softsign, torch.tanh, torch.sigmoid,
    F.tanh, F.sigmoid, torch.sin, torch.cos, F.relu6, F.hardtanh,
)  # fmt: skip
_ARITHMETIC = (operator.mul, operator.add, operator.sub, operator.truediv, operator.neg, torch.mul, torch.add)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_METHODS = ("relu", "tanh", "sigmoid")


class NotDense(Exception):  # noqa: N818 - a finding, not a failure
    """The network is no composition of known layers; the text says what it has instead."""


@dataclass(frozen=True)
class Step:
    """A layer, which earlier values it takes, and whether its gradient is wanted before it."""

    layer: Layer
    sources: tuple[int, ...]


class Tape:
    """A program: the layers of a dense network on the runs of a stack.

    Args:
        model: One of the networks, in training mode; its options count, its weights do not.
        stack: Of all runs.
        function: The loss.
        generators: Of each run, for dropout.

    Raises:
        NotDense: if the model has anything that is not known here.
    """

    def __init__(
        self, model: nn.Module, stack: Stack, function: LossFunction, generators: list[torch.Generator]
    ) -> None:
        self.stack, self._function, self._generators = stack, function, generators
        self._bounds: list[Bound] = []
        self._spares = Spares()
        reader = _Reader(model, stack, generators, self._bounds, self._spares)
        self._steps, self._last, self._flattens = reader.read()
        self._repeated = reader.repeated
        self._averages = averages([step.layer for step in self._steps if isinstance(step.layer, BatchNorm)], stack)

    @torch.no_grad()
    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor, *, shared: bool) -> torch.Tensor:
        """Runs every network on its batch; the stack's gradient holds the gradients afterwards.

        Args:
            inputs, targets: Of shape (batch, ...) if shared, else (runs, batch, ...).
            shared: Whether all runs have the same batch.

        Returns:
            The losses, of shape (runs,).
        """
        values = [self._laid(inputs, shared=shared)]
        for step in self._steps:
            values.append(step.layer.forward([values[source] for source in step.sources]))
        for together in self._averages:
            together.move(values[0].shape[2])
        for name in self._repeated:
            self.stack.gradients[name].zero_()
        found, gradient = self._lost(values[self._last], targets, shared=shared)
        self._backward(gradient)
        return found

    @torch.no_grad()
    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs in evaluation mode of all networks on the same inputs, of shape (runs, batch, features)."""
        values = [self._laid(inputs, shared=True)]
        for step in self._steps:
            values.append(step.layer.evaluated([values[source] for source in step.sources]))
        return values[self._last].transpose(1, 2)

    def keep(self, stack: Stack, kept: Sequence[int]) -> None:
        """Goes on with a smaller stack."""
        self.stack = stack
        self._generators[:] = [self._generators[index] for index in kept]
        for bound in self._bounds:
            bound.adopt(stack)
        for together in self._averages:
            together.adopt(stack)
        self._spares.clear()

    def _laid(self, inputs: torch.Tensor, *, shared: bool) -> Values:
        skipped = 1 if shared else 2
        flat = inputs.flatten(skipped) if self._flattens else inputs
        if flat.dim() != skipped + 1:
            raise NotDense(f"inputs of {inputs.dim() - skipped} dimensions a sample")
        # For a batch that all runs share the product's stride from run to run is zero.
        return flat.t().expand(self.stack.runs, -1, -1) if shared else flat.transpose(1, 2)

    def _lost(self, outputs: Values, targets: torch.Tensor, *, shared: bool) -> tuple[torch.Tensor, Values]:
        """Losses of shape (runs,) and their gradient to the outputs."""
        if self._function is F.cross_entropy and targets.dtype == torch.int64 and outputs.device.type == "cpu":
            return cross_entropies(outputs, targets.expand(len(outputs), -1))
        with torch.enable_grad():
            ready = outputs.detach().requires_grad_()
            found = losses(self._function, ready.transpose(1, 2), targets, shared=shared)
            (gradient,) = torch.autograd.grad(found.sum(), ready)
        return found.detach(), gradient

    def _backward(self, gradient: Values) -> None:
        pending: dict[int, Values] = {self._last: gradient}
        for place in range(len(self._steps), 0, -1):
            own, step = pending.pop(place, None), self._steps[place - 1]
            if own is None:
                continue
            wanted = any(source > 0 for source in step.sources)
            for source, part in zip(step.sources, step.layer.backward(own, wanted=wanted), strict=False):
                if source > 0:
                    pending[source] = pending[source].add_(part) if source in pending else part


class _Reader:
    """Follows a model and makes its layers."""

    def __init__(
        self,
        model: nn.Module,
        stack: Stack,
        generators: list[torch.Generator],
        bounds: list[Bound],
        spares: Spares,
    ) -> None:
        self._model, self._stack, self._generators, self._bounds = model, stack, generators, bounds
        self._spares = spares
        self._modules = dict(model.named_modules())
        self._names = {id(value): name for name, value in (*model.named_parameters(), *model.named_buffers())}
        self._graph = _followed(model)
        self.repeated = self._repeats()
        self._steps: list[Step] = []

    def _repeats(self) -> frozenset[str]:
        """Trained parameters that more than one layer uses."""
        seen: list[str] = []
        for node in self._graph.nodes:
            if node.op == "call_module":
                seen += [self._names[id(value)] for value in self._modules[node.target].parameters()]
        return frozenset(name for name in seen if seen.count(name) > 1 and name in self._stack.gradients)

    def read(self) -> tuple[list[Step], int, bool]:
        """The steps, the place of the output, and whether the inputs are flattened before anything else."""
        places: dict[fx.Node, int] = {}
        flattens = False
        for node in self._graph.nodes:
            if node.op == "placeholder":
                if places:
                    raise NotDense("more than one input")
                places[node] = 0
            elif node.op == "output":
                if not isinstance(node.args[0], fx.Node) or places[node.args[0]] == 0:
                    raise NotDense("an output that is not one layer's")
                return self._steps, places[node.args[0]], flattens
            elif self._passes(node):
                source = node.all_input_nodes[0]
                flattens |= places[source] == 0 and self._flattens(node)
                places[node] = places[source]
            else:
                layer = self._layer(node, reuse=self._reusable(node, places))
                self._steps.append(Step(layer, tuple(places[source] for source in node.all_input_nodes)))
                places[node] = len(self._steps)
        raise NotDense("no output")

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def _flattens(self, node: fx.Node) -> bool:
        module = self._module(node)
        if module is not None:
            return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
        return node.target in (torch.flatten, "flatten") and tuple(node.args[1:]) in ((1,), (1, -1))

    def _passes(self, node: fx.Node) -> bool:
        """Whether a node leaves (batch, features) as it is."""
        return type(self._module(node)) is nn.Identity or self._flattens(node)

    def _reusable(self, node: fx.Node, places: dict[fx.Node, int]) -> bool:
        """Whether the value that a node takes is a fresh one that nobody else needs."""
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        if source is None or len(source.users) > 1 or places[source] == 0:
            return False
        return isinstance(
            self._steps[places[source] - 1].layer, layers.Linear | BatchNorm | layers.Sum
        ) and not self._passes(source)

    def _layer(self, node: fx.Node, *, reuse: bool) -> Layer:
        if node.kwargs and node.op != "call_module" and node.target not in _ELEMENTWISE_FUNCTIONS:
            raise NotDense(f"{node.target} with keywords")
        module = self._module(node)
        if module is not None:
            return self._of_module(node, module, reuse=reuse)
        return _of_function(node, reuse=reuse)

    def _of_module(self, node: fx.Node, module: nn.Module, *, reuse: bool) -> Layer:
        kind = type(module)
        if any(getattr(module, kept) for kept in _HOOKS):
            raise NotDense(f"hooks on {node.target}")
        if getattr(module, "inplace", False) and len(node.all_input_nodes[0].users) > 1:
            raise NotDense(f"{node.target}, which overwrites a value that is used again")
        if kind is nn.Linear:
            return layers.Linear(self._bound(module), self._spares)
        if isinstance(module, nn.BatchNorm1d) and kind is nn.BatchNorm1d:
            if not module.track_running_stats or module.momentum is None:
                raise NotDense(f"{node.target}, a batch norm without a moving average")
            return BatchNorm(module, self._bound(module), reuse=reuse)
        if isinstance(module, nn.LayerNorm) and kind is nn.LayerNorm and len(module.normalized_shape) == 1:
            return layers.LayerNorm(module, self._bound(module))
        if isinstance(module, nn.Dropout) and kind is nn.Dropout:
            return layers.Dropout(module.p, self._generators)
        if kind is nn.ReLU:
            return layers.Relu(reuse=reuse)
        if kind in _ELEMENTWISE_MODULES:
            return layers.Elementwise(_without_inplace(module))
        raise NotDense(f"{kind.__name__} ({node.target})")

    def _bound(self, module: nn.Module) -> Bound:
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        names = {name: self._names[id(value)] for name, value in own}
        self._bounds.append(Bound(self._stack, names, self.repeated))
        return self._bounds[-1]


def _of_function(node: fx.Node, *, reuse: bool) -> Layer:
    target: Any = node.target
    if node.op not in ("call_function", "call_method"):
        raise NotDense(f"a tensor of its own ({node.target})")
    sources, rest = node.all_input_nodes, node.args[1:]
    if target in _RELU_FUNCTIONS or target == "relu":
        return layers.Relu(reuse=reuse)
    if target in _ELEMENTWISE_FUNCTIONS and len(sources) == 1 and not node.kwargs.get("inplace"):
        return layers.Elementwise(partial(_applied, target, rest, dict(node.kwargs)))
    if target in _METHODS:
        return layers.Elementwise(getattr(torch, target))
    if target in _ARITHMETIC and all(isinstance(arg, int | float | fx.Node) for arg in node.args):
        if len(sources) == 1 and len([arg for arg in node.args if arg is sources[0]]) == 1:
            return layers.Elementwise(_arithmetic(target, node.args))
        if target in (operator.add, torch.add) and len(sources) == 2:
            return layers.Sum()
    raise NotDense(f"{getattr(target, '__name__', target)} ({node.name})")


def _applied(function: Callable[..., Any], rest: Sequence[Any], options: dict[str, Any], x: torch.Tensor) -> Any:
    return function(x, *rest, **options)


def _arithmetic(function: Callable[..., Any], args: Sequence[Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: function(*(x if isinstance(arg, fx.Node) else arg for arg in args))


def _without_inplace(module: nn.Module) -> nn.Module:
    if not getattr(module, "inplace", False):
        return module
    other = type(module).__new__(type(module))
    other.__dict__ = {**module.__dict__, "inplace": False}
    return other


def _followed(model: nn.Module) -> fx.Graph:
    """The graph of a model, if it is the same in both modes."""
    try:
        training = fx.symbolic_trace(model).graph
        model.eval()
        evaluating = fx.symbolic_trace(model).graph
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        raise NotDense(f"a forward that cannot be followed ({line[:80]})") from error
    finally:
        model.train()
    if str(training) != str(evaluating):
        raise NotDense("another forward in evaluation mode")
    return training
