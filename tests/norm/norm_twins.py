"""Holding a norm layer to its reference: what is drawn, and how far rounding may carry the two apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

# Of the input and of the parameters.
DTYPES = {
    "float64": (torch.float64, torch.float64),
    "float32": (torch.float32, torch.float32),
    "mixed": (torch.bfloat16, torch.float32),
    "bfloat16": (torch.bfloat16, torch.bfloat16),
}
State = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What one training or inference step gives: output, gradients by name (``x`` and parameters), buffers after it.

    ``divisors`` are what the layer divides by, and ``gain`` the largest |γ|, from which follows how it magnifies
    rounding; ``length`` is that of its longest sum.
    """

    y: Tensor
    gradients: State
    length: int
    buffers: State = field(default_factory=dict)
    divisors: Tensor = field(default_factory=lambda: torch.ones(1).double())
    gain: float = 1.0


Twin = Callable[[nn.Module, State, Tensor, Tensor], Outcome]


@dataclass(frozen=True)
class Sample:
    """Shape, memory layout, mean and seed of an input."""

    shape: tuple[int, ...]
    layout: str
    mean: float
    seed: int

    @property
    def values(self) -> int:
        """Samples times positions."""
        return math.prod(self.shape) // self.shape[1]

    @property
    def positions(self) -> int:
        return math.prod(self.shape[2:])

    def draw(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Input and output gradient of this type, the input laid out as asked for."""
        generator = torch.Generator().manual_seed(self.seed)
        x, grad = (torch.randn(self.shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
        return laid_out(x + self.mean, self.layout), grad


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "channels_last" and x.dim() in (4, 5):
        return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    if layout == "strided":
        return torch.stack([x, x], -1).flatten(-2)[..., ::2]
    return x.transpose(0, 1).contiguous().transpose(0, 1) if layout == "transposed" else x


def samples(least_rank: int = 2, most_rank: int = 5, channels: int = 6) -> st.SearchStrategy[Sample]:
    shapes = st.lists(st.integers(1, 4), min_size=least_rank - 2, max_size=most_rank - 2).flatmap(
        lambda positions: st.tuples(st.integers(1, 6), st.integers(1, channels)).map(lambda head: (*head, *positions))
    )
    layouts = st.sampled_from(["contiguous", "channels_last", "strided", "transposed"])
    return st.builds(Sample, shapes, layouts, st.sampled_from([0.0, 3.0]), st.integers(0, 10_000))


def randomized(module: nn.Module, seed: int, dtype: torch.dtype) -> nn.Module:
    """The module in this type, with parameters and running statistics that are not those it starts from."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.parameters():
        tensor.data = torch.randn(tensor.shape, generator=generator) + 0.1
    for name, tensor in module.named_buffers():
        if name.startswith("running"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.to(dtype)


def largest(gamma: Tensor | None) -> float:
    return 1.0 if gamma is None else float(gamma.abs().max())


def state_of(module: nn.Module) -> State:
    """Parameters and buffers in float64, as they are now."""
    return {name: tensor.detach().clone().double() for name, tensor in module.state_dict().items()}


def hold(module: nn.Module, twin: Twin, sample: Sample, dtype: torch.dtype) -> None:
    """One step of the module against its twin: output, gradients and buffers."""
    x, grad = sample.draw(dtype)
    before = state_of(module)
    expected = twin(module, before, x.double(), grad.double())

    x.requires_grad_()
    y = module(x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    y.backward(grad)
    assert x.grad is not None
    gradients = {"x": x.grad} | {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    kept = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()} or {dtype}
    rounding = Rounding(dtype, kept.pop(), expected, x.detach().double(), grad.double())
    close(y, expected.y, dtype, rounding.of_output(), "y")
    assert set(gradients) == set(expected.gradients)
    for name, gradient in gradients.items():
        bound = rounding.of_input_gradient() if name == "x" else rounding.of_parameter_gradient()
        close(gradient, expected.gradients[name], dtype, bound, f"gradient of {name}")
    after = state_of(module)
    for name in dict(module.named_buffers()):
        close(after[name], expected.buffers.get(name, before[name]), dtype, rounding.of_statistic(), name)


@dataclass(frozen=True)
class Rounding:
    """First-order bounds on rounding errors, from the types' epsilons and the lengths of the sums.

    A sum of m terms is off by at most m ε of its terms' magnitudes; what is then divided by σ is off by that times
    |x|/σ; standardized values are at most √m. Statistics and sums are in float32 at least, and kept so beside
    parameters of float32; torch keeps them in the parameters' type. Results are rounded to the input's type.
    """

    dtype: torch.dtype
    kept: torch.dtype
    outcome: Outcome
    x: Tensor
    grad: Tensor

    @property
    def result(self) -> float:
        """Relative error of a result: of a few roundings."""
        return 2 * torch.finfo(self.dtype).eps

    def sums(self, length: int) -> float:
        """Relative error of sums of so many terms."""
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        return (length + 8) * torch.finfo(wide).eps

    @property
    def spread(self) -> float:
        """Largest standardized value."""
        return math.sqrt(self.outcome.length)

    @property
    def standardized(self) -> float:
        """Error of a standardized value."""
        size = float(self.x.abs().max() / self.outcome.divisors.min()) + self.spread
        return (self.sums(self.outcome.length) + torch.finfo(self.kept).eps) * size

    def of_output(self) -> float:
        gain = self.outcome.gain
        return gain * self.standardized + self.result * (float(self.outcome.y.abs().max()) + gain * self.spread)

    def of_input_gradient(self) -> float:
        slope = self.outcome.gain / float(self.outcome.divisors.min())
        size = slope * float(self.grad.abs().max()) * (1 + self.spread)
        return size * (self.result + self.sums(self.outcome.length) + self.standardized)

    def of_parameter_gradient(self) -> float:
        values = self.x.numel() // self.x.shape[1]
        terms = values * float(self.grad.abs().max())
        return terms * ((self.result + self.sums(values)) * self.spread + self.standardized)

    def of_statistic(self) -> float:
        kept, largest = 2 * torch.finfo(self.kept).eps, float(self.x.abs().max())
        return (kept + self.sums(self.outcome.length)) * (1 + largest**2)


def close(actual: Tensor, expected: Tensor, dtype: torch.dtype, bound: float, what: str) -> None:
    """To 1e-10 of the largest entry in float64, else to the bound."""
    error = float((actual.detach().double() - expected).abs().max()) if expected.numel() else 0.0
    limit = 1e-10 * max(1.0, float(expected.abs().max())) if dtype == torch.float64 else bound
    assert error <= limit, f"{what}: {error:.3g} > {limit:.3g}"
