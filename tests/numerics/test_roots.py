import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import bracketed_root


@given(root=st.floats(-5, 5, allow_subnormal=False), power=st.sampled_from([1, 3, 5]))
def test_finds_the_root_of_an_odd_power(root, power):
    found = bracketed_root(lambda x: (x - root) ** power, -6.0, 7.0)
    assert found == pytest.approx(root, abs=1e-6 if power > 1 else 1e-12)


@given(root=st.floats(0.01, 3))
def test_finds_a_jump(root):
    assert bracketed_root(lambda x: 1.0 if x > root else -1.0, 0.0, 4.0) == pytest.approx(root, rel=1e-12)


def test_is_fast_where_the_function_is_smooth():
    calls = []
    bracketed_root(lambda x: calls.append(x) or math.exp(x) - 2, 0.0, 3.0)
    assert len(calls) < 16


def test_takes_a_root_at_an_end():
    assert bracketed_root(lambda x: x, 0.0, 1.0) == 0.0
    assert bracketed_root(lambda x: x - 1, 0.0, 1.0) == 1.0


def test_refuses_equal_signs():
    with pytest.raises(InputError, match=r"^bracketed_root: function must change sign between low and high"):
        bracketed_root(lambda x: x * x + 1, 0.0, 1.0)
