"""The tables of `gainstage.theory.topics`: computed when they are asked for, none of them written down."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gainstage.numerics import fans
from gainstage.theory.activations import Activation
from gainstage.theory.finite_width import Layer, log_q_variance
from gainstage.theory.fixed_points import c_fixed_point, critical_point, depth_scale_q, q_fixed_point
from gainstage.theory.gradients import batch_norm_gradient_factor
from gainstage.theory.meanfield import c_map, chi, q_map
from gainstage.theory.moments import chi1_at_he_gain, he_gain, mean, nf_gain, second_moment
from gainstage.theory.registry import activation, activation_names
from gainstage.theory.residual import critical_residual_scale, residual_second_moments

_LAYERS = (0, 1, 2, 4, 8, 16, 32)
_FEW_LAYERS = (0, 1, 2, 4, 8)  # of the c-map, whose step is an integral in two dimensions


@dataclass(frozen=True)
class Table:
    """Computed figures.

    Attributes:
        caption: What they are.
        columns: Headings.
        rows: One cell a column: a number, or a text.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float | str, ...], ...]


def edge_of_chaos() -> Table:
    """σ_w² and q* of the edge: of tanh for some σ_b², of others without biases."""
    rows = list[tuple[float | str, ...]]()
    for bias_var in (0.0, 0.01, 0.05, 0.25):
        rows.append(("tanh", bias_var, *critical_point(activation("tanh"), bias_var)))
    for name in ("softsign", "relu"):
        rows.append((name, 0.0, *critical_point(activation(name))))
    return Table("Points on the edge", ("φ", "σ_b²", "σ_w²", "q*"), tuple(rows))


def depth_scale() -> Table:
    """Depth scales of tanh across the edge."""
    tanh, bias_var = activation("tanh"), 0.05
    edge = critical_point(tanh, bias_var).weight_var
    rows = list[tuple[float | str, ...]]()
    for weight_var in (1.0, 1.5, edge, 2.5):
        q_star, c_star = q_fixed_point(tanh, weight_var, bias_var), c_fixed_point(tanh, weight_var, bias_var)
        # The edge is found to rounding only: its infinite depth scale would come out as some million layers.
        slope = 1.0 if weight_var == edge else chi(c_star, q_star, tanh, weight_var)
        depth = math.inf if slope == 1 else -1 / math.log(slope)
        rows.append((weight_var, q_star, c_star, depth, depth_scale_q(tanh, weight_var, bias_var), 6 * depth))
    return Table("tanh, σ_b² = 0.05, in layers", ("σ_w²", "q*", "c*", "ξ_c", "ξ_q", "6 ξ_c"), tuple(rows))


def q_map_table() -> Table:
    """The variance after some layers, from 1."""
    cases = ((activation("relu"), 2.0, 0.0), (activation("relu"), 1 / 3, 0.0), (activation("tanh"), 1.0, 0.0),
             (activation("tanh"), 2.0, 0.05))  # fmt: skip
    columns = tuple(_iterated_q(*case) for case in cases)
    rows = tuple((layers, *cells) for layers, *cells in zip(_LAYERS, *columns, strict=True))
    headings = ("ReLU 2, 0", "ReLU 1/3, 0", "tanh 1, 0", "tanh 2, 0.05")
    return Table("q after so many layers, from q = 1; each for its σ_w², σ_b²", ("layers", *headings), rows)


def c_map_table() -> Table:
    """The correlation after some layers, from 0."""
    tanh, bias_var = activation("tanh"), 0.05
    cases = ((activation("relu"), 2.0, 0.0), (tanh, 1.3, bias_var), (tanh, 3.0, bias_var))
    columns = tuple(_iterated_c(act, q_fixed_point(act, *point), *point) for act, *point in cases)
    rows = tuple((layers, *cells) for layers, *cells in zip(_FEW_LAYERS, *columns, strict=True))
    headings = ("ReLU 2, 0 (edge)", "tanh 1.3, 0.05 (ordered)", "tanh 3, 0.05 (chaotic)")
    return Table("c after so many layers, from c = 0; each for its σ_w², σ_b²", ("layers", *headings), rows)


def gain() -> Table:
    """Moments and gains of every known activation."""
    rows = list[tuple[float | str, ...]]()
    for name in activation_names():
        act = activation(name)
        # selu has mean 0 by construction, but for rounding.
        first = mean(act) if abs(mean(act)) > 1e-12 else 0.0
        rows.append((name, first, second_moment(act), he_gain(act), nf_gain(act), chi1_at_he_gain(act)))
    return Table("At unit variance", ("φ", "E φ", "E φ²", "He gain", "NF gain", "χ₁ at He gain"), tuple(rows))


def batch_norm() -> Table:
    """The factor a layer and what it makes of the gradient over fifty."""
    rows = list[tuple[float | str, ...]]()
    for batch_size in (8, 16, 32, 128, 1024, None):
        linear, relu = (batch_norm_gradient_factor(activation(name), batch_size) for name in ("identity", "relu"))
        rows.append(("large" if batch_size is None else batch_size, linear, relu, linear**25, relu**25))
    columns = ("batch", "linear", "ReLU", "linear, rms over 50", "ReLU, rms over 50")
    return Table("Growth of the squared gradient a layer, and of its rms over 50 layers", columns, tuple(rows))


def residual() -> Table:
    """The critical scale, and the growth at it and at others."""
    rows = list[tuple[float | str, ...]]()
    for depth in (4, 16, 64, 256, 1000):
        growth = residual_second_moments(depth, [depth**-0.5, depth**-0.25, 1.0])[-1]
        normalized = float(residual_second_moments(depth, 1.0, normalized=True)[-1])
        rows.append((depth, float(critical_residual_scale(depth)), *growth.tolist(), normalized))
    columns = ("blocks", "α for growth e", "α = L^-1/2", "α = L^-1/4", "α = 1", "α = 1, pre-norm")
    return Table("Growth of E h² over all blocks, branches that preserve the variance", columns, tuple(rows))


def finite_width() -> Table:
    """Scatter of the scale for some widths and depths."""
    rows = list[tuple[float | str, ...]]()
    for width in (64, 256, 1024):
        for depth in (10, 50):
            relu, linear = (
                log_q_variance([Layer(width, activation(name), gain)] * depth)
                for name, gain in (("relu", 2.0), ("identity", 1.0))
            )
            rows.append((width, depth, relu, linear, math.exp(1.5 * math.sqrt(relu))))
    columns = ("width", "layers", "ReLU: Var ln‖h‖²", "linear", "ReLU: rms within a factor")
    return Table("Scatter over initializations; the factor is that of three standard deviations", columns, tuple(rows))


def fans_table() -> Table:
    """Fans of usual weights, with the standard deviation of He and of torch's default."""
    rows = list[tuple[float | str, ...]]()
    for name, shape, groups, transposed, stride in (
        ("linear, 256 to 512", (512, 256), 1, False, 1),
        ("conv 3 x 3, 64 to 128", (128, 64, 3, 3), 1, False, 1),
        ("the same, stride 2", (128, 64, 3, 3), 1, False, (2, 2)),
        ("conv 3 x 3, 64 groups", (64, 1, 3, 3), 64, False, 1),
        ("transposed 4 x 4, stride 2", (64, 32, 4, 4), 1, True, (2, 2)),
        ("q, k or v, 512", (512, 512), 1, False, 1),
    ):
        found = fans(shape, groups=groups, transposed=transposed, stride=stride)
        rows.append((name, found.fan_in, found.fan_out, math.sqrt(2 / found.fan_in), (3 * found.fan_in) ** -0.5))
    columns = ("layer", "fan_in", "fan_out", "std, He", "std, torch default")
    return Table("Fans, averaged over positions", columns, tuple(rows))


def _iterated_q(act: Activation, weight_var: float, bias_var: float) -> list[float]:
    found = [1.0]
    for _ in range(max(_LAYERS)):
        found.append(q_map(found[-1], act, weight_var, bias_var))
    return [found[layers] for layers in _LAYERS]


def _iterated_c(act: Activation, q: float, weight_var: float, bias_var: float) -> list[float]:
    found = [0.0]
    for _ in range(max(_FEW_LAYERS)):
        found.append(c_map(found[-1], q, act, weight_var, bias_var))
    return [found[layers] for layers in _FEW_LAYERS]
