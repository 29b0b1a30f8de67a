"""The edge of chaos: weights and biases at which gradients neither vanish nor explode with depth."""

from __future__ import annotations

from functools import lru_cache

import torch

from gainstage import theory
from gainstage.errors import InputError
from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.variances import draw
from gainstage.theory import Activation

# The bias variance of the experiments in the paper.
BIAS_VARIANCE = 0.05


@lru_cache(maxsize=256)
def _edge(act: Activation, bias_var: float) -> float | None:
    """σ_w² on the edge with this σ_b², or None if there is no such point, or none that draws signals to it."""
    try:
        weight_var, q_star = theory.critical_point(act, bias_var)
    except InputError:
        return None
    if q_star == 0:
        comes_to_rest = theory.q_map(1.0, act, weight_var, bias_var) <= 1 + 1e-9
    else:
        comes_to_rest = theory.q_map_slope(q_star, act, weight_var) <= 1 + 1e-6
    return weight_var if comes_to_rest else None


def _point(site: Site) -> tuple[float, float] | None:
    """(σ_w², σ_b²): with a bias if there is one and the edge has such a point, else without."""
    if site.activation is None:
        return 1.0, 0.0
    for bias_var in (BIAS_VARIANCE, 0.0) if site.has_bias else (0.0,):
        weight_var = _edge(site.activation, bias_var)
        if weight_var is not None:
            return weight_var, bias_var
    return None


def _refusal(site: Site) -> str | None:
    return f"{site.activation} has no edge of chaos where signals come to rest" if _point(site) is None else None


def _variance(site: Site) -> float:
    point = _point(site)
    assert point is not None, "asked in spite of the refusal"
    return point[0] / site.fan_in


def _bias_variance(site: Site) -> float:
    point = _point(site)
    return 0.0 if point is None else point[1]


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """W ~ N(0, σ_w²/fan_in) and b ~ N(0, σ_b²), where χ₁(σ_w², σ_b²) = 1 at the fixed point q*.

    σ_b² = 0.05, with which tanh has σ_w² = 1.761; 0 where the layer has no bias, and for (leaky) ReLU, whose only
    critical point is He's (2, 0). Where nothing follows (1, 0).

    Validity:
        Wide layers without norms, the same activation behind all of them. Sigmoid's edge lies at σ_w² = 103.
        GELU, SiLU, Mish and hardswish have critical points, but levels move away from them (GELU's variance of
        0.72 is at 115 after 30 layers from unit inputs): they are left to what ``auto`` takes.

    References:
        Schoenholz et al. 2017, Deep information propagation; Hayou et al. 2019.
    """
    return draw(site.shape, _variance(site), "normal", generator)


register(
    LayerScheme("critical", "Schoenholz et al. 2017", _variance, _draws, refusal=_refusal, bias_variance=_bias_variance)
)
