"""Against closed forms, and against the plain rule that they exist to replace."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import gaussian_expectation, gaussian_pair_expectation

ROOT_2PI = math.sqrt(2 * math.pi)
CORRELATIONS = [-1.0, -0.999999, -0.5, -1e-3, 0.0, 1e-9, 0.1, 0.7, 0.99, 0.999999, 1 - 1e-12, 1.0]


def relu(z):
    return np.maximum(z, 0.0)


def step(z):
    return (z > 0).astype(float)


# kind, function, kinks, value
SINGLE = [
    ("closed_form", relu, (0.0,), 1 / ROOT_2PI),
    ("closed_form", lambda z: relu(z) ** 2, (0.0,), 0.5),
    ("closed_form", lambda z: relu(z - 1), (1.0,), math.exp(-0.5) / ROOT_2PI - math.erfc(math.sqrt(0.5)) / 2),
    ("closed_form", lambda z: step(z - 0.3), (0.3,), math.erfc(0.3 / math.sqrt(2)) / 2),
    ("closed_form", lambda z: z**8, (), 105.0),
    ("closed_form", np.exp, (), math.exp(0.5)),
    ("closed_form", lambda z: np.cos(3 * z), (), math.exp(-4.5)),
    ("closed_form", lambda z: np.abs(z) ** 3, (0.0,), 2 * math.sqrt(2 / math.pi)),
]


@pytest.mark.parametrize(("kind", "function", "kinks", "value"), SINGLE)
@pytest.mark.parametrize("declared", [True, False])
def test_closed_forms(kind, function, kinks, value, declared):
    assert kind == "closed_form"
    assert gaussian_expectation(function, kinks=kinks if declared else None) == pytest.approx(value, abs=1e-10)


@given(place=st.floats(-3, 3, allow_subnormal=False))
@settings(max_examples=100, deadline=None)
def test_kinks_that_nobody_declared_cost_nothing_wherever_they_lie(place):
    tail = math.erfc(place / math.sqrt(2)) / 2
    height = math.exp(-place * place / 2) / ROOT_2PI
    assert gaussian_expectation(lambda z: step(z - place)) == pytest.approx(tail, abs=1e-10)
    assert gaussian_expectation(lambda z: relu(z - place)) == pytest.approx(height - place * tail, abs=1e-10)
    squared = gaussian_expectation(lambda z: relu(z - place) ** 2)
    assert squared == pytest.approx((1 + place * place) * tail - place * height, abs=1e-10)


def test_a_kink_beside_the_end_of_a_panel_is_what_the_search_is_for():
    # The first node of a panel lies beyond: without the search, refinement never sees the kink.
    def shifted(z):
        return relu(z - 0.001)

    found, unsearched = gaussian_expectation(shifted), gaussian_expectation(shifted, kinks=())
    assert abs(found - unsearched) > 1e-7


# kind, nodes, relative error of the mean of ReLU as printed
PLAIN = [("closed_form", 64, 0.0065), ("closed_form", 150, 0.0027)]  # 0.275 %: also seen in print as 0.28 %


@pytest.mark.parametrize(("kind", "count", "error"), PLAIN)
def test_plain_gauss_hermite_is_the_trap_that_this_avoids(kind, count, error):
    assert kind == "closed_form"
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    plain = float(weights @ relu(nodes)) / ROOT_2PI
    assert abs(plain * ROOT_2PI - 1) == pytest.approx(error, abs=5.1e-5)
    assert abs(gaussian_expectation(relu) * ROOT_2PI - 1) < 1e-13


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("declared", [True, False])
def test_arc_cosine_kernel(c, declared):
    exact = (math.sqrt((1 - c) * (1 + c)) + c * (math.pi - math.acos(c))) / (2 * math.pi)
    found = gaussian_pair_expectation(relu, relu, c, kinks=(0.0,) if declared else None)
    assert found == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_orthant_probability(c):
    exact = 0.25 + math.asin(c) / (2 * math.pi)
    assert gaussian_pair_expectation(step, step, c, kinks=(0.0,)) == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("c", [-0.9, -0.1, 0.3, 0.999])
@pytest.mark.parametrize("place", [0.001, 0.3137, 1.0001])
def test_pairs_with_undeclared_kinks_against_the_conditional_mean(c, place):
    # E[z₁ 1(z₂ > k)] = c p(k): by hand, from z₁ = c z₂ + noise.
    found = gaussian_pair_expectation(lambda z: z, lambda z: step(z - place), c)
    assert found == pytest.approx(c * math.exp(-place * place / 2) / ROOT_2PI, abs=1e-10)


@given(c=st.floats(-1, 1, allow_subnormal=False))
@settings(max_examples=25, deadline=None)
def test_sines(c):
    assert gaussian_pair_expectation(np.sin, np.sin, c) == pytest.approx(math.exp(-1) * math.sinh(c), abs=1e-12)


@given(c=st.floats(-0.99, 0.99, allow_subnormal=False), shift=st.floats(-2, 2, allow_subnormal=False))
@settings(max_examples=25, deadline=None)
def test_is_symmetric_in_its_functions(c, shift):
    def shifted(z):
        return relu(z - shift)

    one = gaussian_pair_expectation(shifted, np.tanh, c, kinks=(shift,))
    other = gaussian_pair_expectation(np.tanh, shifted, c, kinks=(shift,))
    assert one == pytest.approx(other, abs=1e-10)


def test_a_callable_may_overflow_on_the_way():
    assert gaussian_expectation(lambda z: 1 / (1 + np.exp(-1e4 * z))) == pytest.approx(0.5, abs=1e-10)


def test_refuses_what_is_out_of_range():
    with pytest.raises(InputError, match=r"correlation must be in \[-1, 1\], got 1.5\. "):
        gaussian_pair_expectation(relu, relu, 1.5)
    with pytest.raises(InputError, match=r"^gaussian_expectation: kinks must be finite, got \[nan\]\. "):
        gaussian_expectation(relu, kinks=[math.nan])
