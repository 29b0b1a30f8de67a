"""Reparametrized weights against their references, on every kind of layer that has a weight."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gainstage.errors import InputError, UnknownNameError
from gainstage.norm import reference
from gainstage.norm.layers import (
    PARAMETRIZATIONS,
    activation_gain,
    scaled_weight_standardization,
    weight_norm,
    weight_standardization,
)
from gainstage.seeding import preserved_rng

CARRIERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 6),
    "conv1d": lambda: nn.Conv1d(4, 6, 3),
    "conv2d": lambda: nn.Conv2d(4, 6, (3, 2)),
    "conv3d": lambda: nn.Conv3d(2, 4, 2),
    "grouped": lambda: nn.Conv2d(8, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4),
    "transposed1d": lambda: nn.ConvTranspose1d(4, 6, 3),
    "transposed2d": lambda: nn.ConvTranspose2d(4, 6, 4, stride=2),
    "transposed3d": lambda: nn.ConvTranspose3d(2, 4, 2),
    "transposed grouped": lambda: nn.ConvTranspose2d(8, 6, 3, groups=2),
}
every_carrier = pytest.mark.parametrize("carrier", CARRIERS)


def layout(module: nn.Module) -> dict[str, int | bool]:
    transposed = "Transpose" in type(module).__name__
    return {"groups": getattr(module, "groups", 1), "transposed": transposed}


def units(module: nn.Module, weight: Tensor) -> list[Tensor]:
    """Each output unit's own weights, found by what an output depends on: a twin of all layouts."""
    found: list[Tensor] = []
    probe = copy.deepcopy(module)
    for unit in range(len(module.bias)):
        marked = weight.detach().clone().requires_grad_()
        shape = (1, 12) if isinstance(module, nn.Linear) else (1, module.in_channels, *[5] * (weight.dim() - 2))
        y = torch.func.functional_call(probe, {"weight": marked}, (torch.rand(shape) + 0.5,))
        y[0, unit].sum().backward()
        found.append(weight.detach()[marked.grad != 0])
    return found


def drawn(module: nn.Module, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = module.weight.shape
    weight, grad = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return weight + 0.3, grad


def close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """In float64 to 1e-12, else to rounding, of the largest entry.

    Sums are of at most 36 terms in float32: 36 · 1.2e-7 with a factor of 4 for what is added up by divisions.
    """
    limit = {torch.float64: 1e-12, torch.float32: 4 * 36 * 1.2e-7, torch.bfloat16: 4 * 2**-8}[dtype]
    assert float((actual.detach().double() - expected).abs().max()) <= limit * max(1.0, float(expected.abs().max()))


@every_carrier
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000))
def test_weight_norm(carrier: str, dtype: torch.dtype, seed: int) -> None:
    module = CARRIERS[carrier]()
    weight, grad = drawn(module, seed, dtype)
    module = module.to(dtype)
    module.weight.data = weight
    weight_norm(module)
    close(module.weight, weight.double(), dtype)  # parametrizing alone changes nothing

    parts = module.parametrizations.weight
    g = torch.randn(len(module.bias), generator=torch.Generator().manual_seed(seed)).to(dtype)
    parts.original0.data = g.view(parts.original0.shape)
    close(module.weight, reference.weight_norm(weight.double(), g.double(), **layout(module)), dtype)
    module.weight.backward(grad)
    of_v, of_g = reference.weight_norm_backward(grad.double(), weight.double(), g.double(), **layout(module))
    close(parts.original1.grad, of_v, dtype)
    close(parts.original0.grad.flatten(), of_g, dtype)


@every_carrier
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000))
def test_weight_standardization(carrier: str, dtype: torch.dtype, seed: int) -> None:
    module = CARRIERS[carrier]()
    weight, grad = drawn(module, seed, dtype)
    module = module.to(dtype)
    module.weight.data = weight
    weight_standardization(module, eps=1e-2)
    close(module.weight, reference.weight_standardization(weight.double(), 1e-2, **layout(module)), dtype)
    module.weight.backward(grad)
    expected = reference.weight_standardization_backward(grad.double(), weight.double(), 1e-2, **layout(module))
    close(module.parametrizations.weight.original.grad, expected, dtype)


@every_carrier
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("eps", [1e-4, 1e3], ids=["scale-free", "below eps"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000))
def test_scaled_weight_standardization(carrier: str, eps: float, dtype: torch.dtype, seed: int) -> None:
    module = CARRIERS[carrier]()
    weight, grad = drawn(module, seed, dtype)
    module = module.to(dtype)
    module.weight.data = weight
    scaled_weight_standardization(module, gain=1.3, eps=eps)
    part = module.parametrizations.weight[0]
    gamma = torch.rand(len(module.bias), generator=torch.Generator().manual_seed(seed)).to(dtype)
    part.gamma.data = gamma
    given_ = (weight.double(), gamma.double(), 1.3, part.fan_in, eps)
    close(module.weight, reference.scaled_weight_standardization(*given_, **layout(module)), dtype)
    module.weight.backward(grad)
    found = reference.scaled_weight_standardization_backward(grad.double(), *given_, **layout(module))
    close(module.parametrizations.weight.original.grad, found[0], dtype)
    close(part.gamma.grad, found[1], dtype)


@every_carrier
def test_units_are_what_an_output_depends_on(carrier: str) -> None:
    module = CARRIERS[carrier]()
    plain = copy.deepcopy(module)
    weight_norm(module)
    for own, length in zip(
        units(plain, module.weight), module.parametrizations.weight.original0.flatten(), strict=True
    ):
        assert float(own.norm()) == pytest.approx(float(length.detach()), rel=1e-5)
    standardized = weight_standardization(copy.deepcopy(plain))
    for own in units(plain, standardized.weight):
        assert float(own.mean()) == pytest.approx(0, abs=1e-5)


def test_weight_norm_agrees_with_torchs_and_loads_its_state() -> None:
    one, other = (nn.Conv2d(3, 5, 3) for _ in range(2))
    weight_norm(one), parametrizations.weight_norm(other)
    one.load_state_dict(other.state_dict(), strict=True)
    assert torch.allclose(one.weight, other.weight, rtol=1e-6)
    one.weight.square().sum().backward(), other.weight.square().sum().backward()
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        if mine.grad is not None:
            assert torch.allclose(mine.grad, its.grad, rtol=1e-4, atol=1e-5)


@every_carrier
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_they_can_be_undone_and_the_weight_stays(carrier: str, name: str) -> None:
    module = PARAMETRIZATIONS[name](CARRIERS[carrier]())
    weight = module.weight.detach().clone()
    parametrize.remove_parametrizations(module, "weight")
    assert torch.equal(module.weight, weight)
    assert isinstance(module.weight, nn.Parameter)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-2, 1e3), shift=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_scaled_standardization_forgets_scale_and_shift(scale: float, shift: float, seed: int) -> None:
    module = scaled_weight_standardization(nn.Linear(16, 4).double())
    raw = module.parametrizations.weight.original
    raw.data = torch.randn(4, 16, generator=torch.Generator().manual_seed(seed)).double()
    before = module.weight.detach().clone()
    raw.data = raw.data * scale + shift
    assert torch.allclose(module.weight, before, atol=1e-10)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [("relu", 1.712859), (nn.GELU(), 1.700926), (F.silu, 1.787187), (nn.ReLU(inplace=True), 1.712859),
     (np.tanh, 1.592537), (lambda z: np.maximum(z, 0), 1.712859), (lambda z: z.tanh(), 1.592537),
     (nn.LeakyReLU(0.2), 1.546460), (nn.ELU(), 1.270843), (None, 1.0), (lambda z: 3 * z, 1 / 3)],
)  # fmt: skip
def test_gains_of_any_activation(activation: object, gain: float) -> None:
    # closed form: Var[φ]^(-1/2), from the table of Gaussian moments.
    assert activation_gain(activation) == pytest.approx(gain, rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", nn.GELU(), torch.sigmoid, np.tanh])
@pytest.mark.parametrize("carrier", ["linear", "conv", "grouped", "transposed"])
def test_variance_stays_one_through_activation_and_layer(carrier: str, activation: object) -> None:
    # Hidden inputs are independent normal ones of variance 1; units of a wide layer then have variance γ² = 1.
    build = {
        "linear": lambda: nn.Linear(512, 256, bias=False),
        "conv": lambda: nn.Conv1d(128, 256, 4, bias=False),
        "grouped": lambda: nn.Conv1d(512, 256, 4, groups=4, bias=False),
        "transposed": lambda: nn.ConvTranspose1d(256, 256, 4, stride=2, bias=False),
    }[carrier]
    with preserved_rng(0):
        module = scaled_weight_standardization(build(), activation)
        z = torch.randn(64, 512) if carrier == "linear" else torch.randn(64, module.in_channels, 16)
    function = F.relu if activation == "relu" else torch.tanh if activation is np.tanh else activation
    with torch.no_grad():
        y = module(function(z))
        y = y[..., 3:-3] if y.dim() > 2 else y
    # Standard error of a variance of n values: √(2/n); units share inputs, so that samples are what counts. Means are
    # another matter where an output sees part of a unit's taps only, as with strided transposed convolutions.
    assert float(y.var(0).mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / 64))
    if carrier != "transposed":
        assert float(y.square().mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / 64))


def test_deep_unnormalized_networks_keep_their_signal() -> None:
    with preserved_rng(0), torch.no_grad():
        x = torch.randn(64, 256)
        for _ in range(50):
            x = scaled_weight_standardization(nn.Linear(256, 256), "relu")(x.relu())
    # Finite width: the log of a sample's mean square scatters with a variance of about 5·50/256 for He's weights.
    assert abs(math.log(float(x.square().mean()))) < 3 * math.sqrt(5 * 50 / 256)


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_what_has_no_weight_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"ReLU.weight must be a weight of two or more dimensions, got NoneType. Pass"):
        PARAMETRIZATIONS[name](nn.ReLU())
    with pytest.raises(InputError, match=r"BatchNorm1d.weight must be .* got shape \(3,\)"):
        PARAMETRIZATIONS[name](nn.BatchNorm1d(3))
    with pytest.raises(InputError, match=r"LazyLinear.weight must be .* got no shape yet. .* run a lazy one first"):
        PARAMETRIZATIONS[name](nn.LazyLinear(3))


def test_weights_that_cannot_be_normed_are_refused() -> None:
    zeros = nn.Linear(4, 3)
    nn.init.zeros_(zeros.weight[1:])
    with pytest.raises(InputError, match="weight must have a direction in each of 3 units, got 2 of zeros"):
        weight_norm(zeros)
    with pytest.raises(InputError, match=r"weight_standardization: weight must have two or more entries .* got 1"):
        weight_standardization(nn.Conv2d(4, 4, 1, groups=4))
    with pytest.raises(InputError, match=r"gain must not be given beside an activation, got 2\.0"):
        scaled_weight_standardization(nn.Linear(4, 3), "relu", gain=2.0)
    with pytest.raises(UnknownNameError, match=r"name must be a known one, got 'rleu'\. Did you mean 'relu'"):
        scaled_weight_standardization(nn.Linear(4, 3), "rleu")
    with pytest.raises(InputError, match="gain must be positive"):
        scaled_weight_standardization(nn.Linear(4, 3), gain=0.0)
    assert not parametrize.is_parametrized(zeros)
