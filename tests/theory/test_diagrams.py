"""The arrays behind the charts against the functions of one point."""

import math

import numpy as np
import pytest

from gainstage.errors import InputError
from gainstage.theory import (
    activation,
    c_map,
    c_map_curves,
    chi1,
    critical_point,
    depth_scale_c,
    depth_scale_q,
    depth_scales,
    phase_diagram,
    q_fixed_point,
    q_map,
    q_map_curves,
)

TANH, RELU, GELU = (activation(name) for name in ("tanh", "relu", "gelu"))
WEIGHTS, BIASES = np.linspace(0.3, 4.0, 9), np.linspace(0.01, 0.5, 5)


@pytest.mark.parametrize("act", [TANH, activation("sigmoid"), activation("softsign")], ids=str)
def test_phases_are_those_of_single_points(act):
    diagram = phase_diagram(act, WEIGHTS, BIASES)
    for row, bias_var in enumerate(BIASES):
        for column, weight_var in enumerate(WEIGHTS):
            q_star = q_fixed_point(act, weight_var, bias_var)
            assert diagram.q_star[row, column] == pytest.approx(q_star, rel=1e-4)
            assert diagram.chi1[row, column] == pytest.approx(chi1(q_star, act, weight_var), rel=1e-4)


def test_the_edge_parts_the_phases():
    diagram = phase_diagram(TANH, np.linspace(0.2, 4, 39), np.linspace(0, 0.5, 11))
    assert len(diagram.edge) == 41
    for weight_var, bias_var in diagram.edge[::8]:
        assert weight_var == pytest.approx(critical_point(TANH, bias_var).weight_var)
    for row, bias_var in enumerate(diagram.bias_var):
        edge = critical_point(TANH, float(bias_var)).weight_var
        away = abs(diagram.weight_var - edge) > 0.05
        assert np.all((diagram.chi1[row] > 1)[away] == (diagram.weight_var > edge)[away])


def test_edges_of_rectifiers():
    relu = phase_diagram(RELU, WEIGHTS, BIASES)
    assert relu.edge[:, 0].tolist() == [2.0, 2.0]
    assert relu.chi1[2] == pytest.approx(WEIGHTS / 2)
    # GELU's critical points at small biases are not where a variance of 1 ends: no line is drawn there.
    gelu = phase_diagram(GELU, WEIGHTS, BIASES).edge
    assert critical_point(GELU, 0.01).weight_var > 2.3
    assert gelu[:, 1].min() > 0.1


def test_depth_scales_are_those_of_single_points():
    found = depth_scales(TANH, [0.8, 1.5, 3.0], 0.05)
    for weight_var, depth_c, depth_q in zip(found.weight_var, found.correlation, found.variance, strict=True):
        assert depth_c == depth_scale_c(TANH, weight_var, 0.05)
        assert depth_q == depth_scale_q(TANH, weight_var, 0.05)
    assert found.edge == critical_point(TANH, 0.05).weight_var
    exploding = depth_scales(RELU, [1.5, 2.5], 0.05)
    assert np.isnan(exploding.correlation).tolist() == [False, True]
    assert math.isnan(exploding.edge)


def test_curves_are_those_of_single_points():
    q_curves = q_map_curves(TANH, [0.5, 2.0], [1.0, 3.0], 0.1)
    assert q_curves[1, 0] == pytest.approx(q_map(0.5, TANH, 3.0, 0.1), rel=1e-12)
    c_curves = c_map_curves(TANH, [0.2, 1.0], [3.0], 0.1)
    assert c_curves[0].tolist() == [c_map(0.2, q_fixed_point(TANH, 3.0, 0.1), TANH, 3.0, 0.1), 1.0]
    assert np.isnan(c_map_curves(RELU, [0.5], [3.0])).all()


def test_refuses():
    with pytest.raises(InputError, match=r"^phase_diagram: weight_var must be a list of numbers, got shape \(\)\. "):
        phase_diagram(TANH, 1.0, [0.1])
    with pytest.raises(InputError, match=r"^q_map: bias_var must be finite and at least 0, got -0\.1\. "):
        phase_diagram(TANH, [1.0], [-0.1])
