"""Schemes with independent entries: the variance that the paper gives, the bounds, the biases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage import schemes, theory
from gainstage.schemes import SCHEMES, Site
from gainstage.schemes.variances import TRUNCATED_VARIANCE
from gainstage.seeding import generator

RELU = theory.activation("relu")
# A matrix, a grouped convolution and a transposed one, with their fans as numerics.fans counts them.
SITES = {
    "matrix": Site((400, 200), 200, 400, math.sqrt(2), RELU),
    "grouped": Site((64, 16, 3, 3), 144, 144, math.sqrt(2), RELU, groups=4, convolution=True),
    "transposed": Site((64, 32, 4, 4), 256, 512, math.sqrt(2), RELU, transposed=True, convolution=True),
}
FANS = {"matrix": (200, 400), "grouped": (144, 144), "transposed": (256, 512)}
SHAPES = ("normal", "uniform", "truncated_normal")
# Golden: closed form, from each paper's equation. torch counts 32·16 inputs of the transposed convolution.
GOLDEN = {
    **{f"glorot_{shape}": lambda i, o, _: 2 * 2 / (i + o) for shape in SHAPES},
    **{f"he_{shape}": lambda i, o, _: 2 / i for shape in SHAPES},
    **{f"lecun_{shape}": lambda i, o, _: 1 / i for shape in SHAPES},
    "critical": lambda i, o, _: 2 / i,
    "gpt": lambda *_: 0.0004,
    "bert": lambda *_: 0.0004 * 0.773741,
    "torch_default": lambda i, o, site: 1 / (3 * (512 if site == "transposed" else i)),
}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", GOLDEN)
def test_mean_and_variance_within_four_standard_errors(name: str, site: str) -> None:
    expected = GOLDEN[name](*FANS[site], site)
    assert SCHEMES[name].variance(SITES[site]) == pytest.approx(expected, rel=1e-6)
    weight = SCHEMES[name].draw(SITES[site], generator(0, name, site)).double()
    n = weight.numel()
    assert abs(float(weight.mean())) < 4 * math.sqrt(expected / n)
    squares = weight**2
    assert float(squares.mean()) == pytest.approx(expected, abs=4 * float(squares.std()) / math.sqrt(n))


def test_every_scheme_is_proved_here_or_by_its_structure() -> None:
    assert set(SCHEMES) - set(GOLDEN) == {"orthogonal", "delta_orthogonal", "identity", "dirac", "nf_normal", "zeros"}


def test_zeros() -> None:
    assert not SCHEMES["zeros"].draw(SITES["grouped"], generator(0)).any()


def test_the_variance_within_two_standard_deviations_is_that_of_the_integral() -> None:
    z = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2)
    assert pytest.approx(float((z**2 * density).sum() / density.sum()), abs=1e-5) == TRUNCATED_VARIANCE


@pytest.mark.parametrize(
    ("name", "bound"),
    [("he_truncated_normal", 2 * 0.1 / math.sqrt(0.773741)), ("bert", 0.04), ("he_uniform", 0.1 * math.sqrt(3)),
     ("torch_default", 1 / math.sqrt(200))],
)  # fmt: skip
def test_draws_reach_their_bound_and_do_not_pass_it(name: str, bound: float) -> None:
    largest = float(SCHEMES[name].draw(SITES["matrix"], generator(0, name)).abs().max())
    assert 0.999 * bound < largest <= bound * (1 + 1e-6)


def test_a_truncated_normal_is_no_uniform_one() -> None:
    # Kurtosis within two standard deviations: (3·m₂ - 2·8·φ(2)/mass)/m₂², a closed form.
    mass, density = math.erf(math.sqrt(2)), math.exp(-2) / math.sqrt(2 * math.pi)
    kurtosis = (3 * TRUNCATED_VARIANCE - 16 * density / mass) / TRUNCATED_VARIANCE**2
    weight = SCHEMES["lecun_truncated_normal"].draw(SITES["matrix"], generator(0)).double()
    fourth = (weight**4 * 200**2).flatten()
    assert float(fourth.mean()) == pytest.approx(kurtosis, abs=4 * float(fourth.std()) / math.sqrt(fourth.numel()))


@pytest.mark.parametrize(
    ("layer", "batch"),
    [
        (lambda: nn.Linear(50, 300), (4, 50)),
        (lambda: nn.Conv2d(16, 64, 3, groups=4), (2, 16, 8, 8)),
        (lambda: nn.ConvTranspose2d(16, 32, 3, stride=2, groups=2), (2, 16, 4, 4)),
    ],
)
def test_torch_default_is_what_torch_draws_biases_too(layer, batch: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    theirs, ours = layer(), layer()
    gs.initialize(ours, torch.randn(batch), scheme="torch_default")
    for one, other in ((theirs.weight.detach(), ours.weight.detach()), (theirs.bias.detach(), ours.bias.detach())):
        # Uniform draws come as near to their bound as 1/n; both bounds are the same, and so is the spread.
        tolerance = 10 / one.numel()
        assert float(one.abs().max()) == pytest.approx(float(other.abs().max()), rel=tolerance)
        spread = math.sqrt(2 * 0.8 / one.numel())
        assert float((one**2).mean()) == pytest.approx(float((other**2).mean()), rel=4 * spread)


# Golden: the edge of chaos of tanh and the fixed point there, Schoenholz et al. 2017 (σ_b² = 0.05).
TANH = (1.76096, 0.5700)


def tanh_network(depth: int, width: int, *, bias: bool = True) -> nn.Module:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width, bias=bias), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def test_critical_weights_and_biases_of_tanh_and_the_level_that_they_hold() -> None:
    model, width = tanh_network(16, 400), 400
    report = gs.initialize(model, torch.randn(50, width), scheme="critical")
    assert report.rows[0].target ** 2 * width == pytest.approx(TANH[0], rel=1e-4)
    weights = model[4].weight.detach().double()
    biases = torch.cat([layer.bias.detach() for layer in model[:-1:2]]).double()
    error = math.sqrt(2 / weights.numel())
    assert float((weights**2).mean()) * width == pytest.approx(TANH[0], rel=4 * error)
    assert float((biases**2).mean()) == pytest.approx(0.05, rel=4 * math.sqrt(2 / biases.numel()))
    assert not model[-1].bias.any()
    # The preactivations of the last layers, against q*; biases of 400 units scatter by √(2/400).
    levels = [row.rms_after**2 for row in report.rows[8:-1]]
    assert sum(levels) / len(levels) == pytest.approx(TANH[1], rel=4 * math.sqrt(2 / 400))


def test_critical_without_biases_and_where_there_is_no_edge() -> None:
    report = gs.initialize(tanh_network(2, 40, bias=False), torch.randn(4, 40), scheme="critical")
    assert [row.target**2 * row.fan_in for row in report.rows] == pytest.approx([1, 1, 1])
    report = gs.initialize(nn.Sequential(nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 3)), scheme="critical")
    assert report.rows[0].scheme == "he_normal"
    assert (
        report.rows[0].note == "critical: softplus has no edge of chaos where signals come to rest; he_normal instead"
    )


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", "elu", "hardtanh", "softsign", "sigmoid"])
def test_critical_is_where_gradients_keep_their_size(name: str) -> None:
    act = theory.activation(name)
    site = Site((100, 100), 100, 100, activation=act)
    weight_var, bias_var = SCHEMES["critical"].variance(site) * 100, SCHEMES["critical"].bias_variance(site)
    q = theory.q_fixed_point(act, weight_var, bias_var)
    assert theory.chi1(q, act, weight_var) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "hardswish"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_critical_point_that_levels_move_away_from_is_refused(name: str, has_bias: bool) -> None:
    act = theory.activation(name)
    site = Site((100, 100), 100, 100, activation=act, has_bias=has_bias)
    reason = SCHEMES["critical"].refusal(site)
    assert reason == f"{name} has no edge of chaos where signals come to rest"
    # Why: there is such a point, and a signal of its own variance, one percent off, ends far away.
    weight_var, q_star = theory.critical_point(act, 0.05)
    assert math.isinf(theory.q_fixed_point(act, weight_var, 0.05, start=1.01 * q_star))


def test_frozen_biases_stay_and_then_the_point_without_biases_is_taken() -> None:
    model = tanh_network(1, 40)
    model[0].bias.requires_grad_(False)
    before = model[0].bias.clone()
    assert gs.initialize(model, torch.randn(4, 40), scheme="critical").rows[0].target ** 2 * 40 == pytest.approx(1)
    assert torch.equal(before, model[0].bias)


def test_a_scheme_by_its_name() -> None:
    assert schemes.scheme("critical") is SCHEMES["critical"]
