"""Variance schemes: closed forms, and draws that have them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage import schemes
from gainstage.errors import InputError, UnknownNameError
from gainstage.seeding import generator

CLOSED_FORMS = [("glorot", 100, 300, 2 / 400), ("he", 100, 300, 2 / 100), ("lecun", 100, 300, 1 / 100)]


@pytest.mark.parametrize(("name", "fan_in", "fan_out", "variance"), CLOSED_FORMS)
@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_closed_forms(name: str, fan_in: int, fan_out: int, variance: float, distribution: str) -> None:
    scheme = schemes.scheme(f"{name}_{distribution}")
    gain = math.sqrt(2) if scheme.uses_gain else 1.0
    site = schemes.Site((fan_out, fan_in), fan_in, fan_out, gain)
    assert scheme.variance(site) == pytest.approx(variance)


@settings(deadline=None, max_examples=30)
@given(
    fan_in=st.integers(2, 200),
    gain=st.floats(0.1, 3),
    distribution=st.sampled_from(["normal", "uniform"]),
    seed=st.integers(0, 1000),
)
def test_variance_times_fan_is_gain_squared(fan_in: int, gain: float, distribution: str, seed: int) -> None:
    rows = 40_000 // fan_in
    weight = schemes.draw((rows, fan_in), schemes.he(fan_in, rows, gain), distribution, generator(seed, "w"))
    # The second moment of n draws scatters by √(2/n) (normal) or √(0.8/n) (uniform): six of these.
    tolerance = 6 * math.sqrt((2 if distribution == "normal" else 0.8) / weight.numel())
    assert float((weight.double() ** 2).mean()) * fan_in == pytest.approx(gain**2, rel=tolerance)
    if distribution == "uniform":
        assert float(weight.abs().max()) <= math.sqrt(3 * gain**2 / fan_in) * (1 + 1e-6)


def test_draws_depend_on_seed_and_label_alone() -> None:
    one, again = (schemes.draw((5, 5), 1.0, "normal", generator(3, "a.weight")) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, schemes.draw((5, 5), 1.0, "normal", generator(3, "b.weight")))
    assert not torch.equal(one, schemes.draw((5, 5), 1.0, "normal", generator(4, "a.weight")))


@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_no_variance_gives_zeros_without_a_sign(distribution: str) -> None:
    assert not torch.signbit(schemes.draw((50,), 0.0, distribution, generator(0))).any()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="variance must be finite and not negative, got nan"):
        schemes.draw((2, 2), math.nan, "normal", generator(0))
    with pytest.raises(UnknownNameError, match="Did you mean 'he_normal'"):
        schemes.scheme("he_norml")
