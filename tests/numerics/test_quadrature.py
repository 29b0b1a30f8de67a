import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import adaptive_integral


@given(degree=st.integers(0, 20), low=st.floats(-2, 0, allow_subnormal=False), width=st.floats(0.1, 3))
def test_polynomials(degree, low, width):
    high = low + width
    exact = (high ** (degree + 1) - low ** (degree + 1)) / (degree + 1)
    value = adaptive_integral(lambda x: x**degree, (low, high)).value
    assert value == pytest.approx(exact, rel=1e-9, abs=1e-9)


@given(jump=st.floats(0.05, 0.95))
def test_a_jump_is_exact_where_declared_and_found_where_not(jump):
    def step(x):
        return (x > jump).astype(float)

    assert adaptive_integral(step, (0.0, jump, 1.0)).value == pytest.approx(1 - jump, abs=1e-14)
    # One that falls between the two innermost nodes, 0.0053 apart, is not to be seen from any of them.
    assert adaptive_integral(step, (0.0, 1.0)).value == pytest.approx(1 - jump, abs=5.3e-3)


def test_the_mesh_closes_in_on_a_jump():
    integral = adaptive_integral(lambda x: (x > 0.3).astype(float), (0.0, 1.0))
    assert integral.value == pytest.approx(0.7, abs=1e-12)
    assert min(abs(edge - 0.3) for edge in integral.edges) < 1e-10


def test_a_singular_slope():
    assert adaptive_integral(np.sqrt, (0.0, 1.0)).value == pytest.approx(2 / 3, abs=1e-12)


def test_rounding_is_not_refined_under_a_given_scale():
    noise = adaptive_integral(lambda x: np.sin(1e5 * x) * 1e-17, (0.0, 1.0), scale=1.0)
    assert len(noise.edges) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_values_that_are_not_finite(value):
    with pytest.raises(InputError, match=r"^integrate: function must be finite, got NaN or infinity\. "):
        adaptive_integral(lambda x: np.full_like(x, value), (0.0, 1.0))


def test_refuses_noise():
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"^integrate: function must be piecewise smooth"):
        adaptive_integral(lambda x: generator.normal(size=x.shape), (0.0, 1.0))
