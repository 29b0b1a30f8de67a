"""Lanczos against spectra that are known: values, bounds, what the start may hide, and operators at the edge."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.landscape.lanczos import Start, Which, lanczos, mixed_start

DTYPES = [torch.float32, torch.float64]


def spectrum(name: str, dtype: torch.dtype) -> torch.Tensor:
    made = torch.Generator().manual_seed(0)
    bulk = 0.01 * torch.randn(2000, generator=made)
    found = {
        "line": torch.linspace(-1, 1, 300),
        "outliers": torch.cat([bulk, torch.tensor([1.0, 0.9, -1.5])]),
        "negative": -1 - torch.rand(200, generator=made),
        "decay": torch.logspace(0, -6, 1000),
    }[name]
    return found.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", ["algebraic", "modulus"])
@pytest.mark.parametrize("name", ["line", "outliers", "negative", "decay"])
def test_the_largest_to_one_percent(name: str, which: Which, dtype: torch.dtype) -> None:
    values = spectrum(name, dtype)
    found = lanczos(lambda v: values * v, mixed_start(torch.ones_like(values)), which=which)
    true = values.max() if which == "algebraic" else values[values.abs().argmax()]
    assert found.converged
    assert abs(abs(found.values[0]) - abs(float(true))) <= 0.01 * abs(float(true))
    assert float((values - found.values[0]).abs().min()) <= found.bounds[0] * 1.01
    assert len(found.bounds) == 1


def test_a_start_that_lies_in_the_wrong_eigenspace_does_not_mislead() -> None:
    values = torch.cat([torch.tensor([1.0, 0.8]), torch.zeros(50_000)])
    adverse = torch.zeros_like(values)
    adverse[1] = 1.0
    found = lanczos(lambda v: values * v, mixed_start(adverse))
    assert found.values[0] == pytest.approx(1.0, rel=0.01)


def test_what_a_start_may_hide_is_said() -> None:
    values = torch.linspace(0, 1, 1000)
    values[0] = 2.0
    adverse = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    adverse[0] = 0.0
    # Of this start one part in a million is said to be random: that is too little to rule out a larger eigenvalue soon.
    found = lanczos(lambda v: values * v, Start(adverse / adverse.norm(), 1e-6), most=12)
    assert found.values[0] < 1.1
    assert not found.converged
    assert found.missed > 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_have_the_residuals_that_are_stated(dtype: torch.dtype) -> None:
    values = spectrum("decay", dtype)
    found = lanczos(lambda v: values * v, mixed_start(torch.ones_like(values)), top=4, vectors=True)
    assert found.vectors is not None
    assert found.vectors.shape == (4, 1000)
    assert found.values == pytest.approx(values[:4].tolist(), rel=0.01)
    gram = found.vectors @ found.vectors.T
    torch.testing.assert_close(gram, torch.eye(4, dtype=dtype), atol=1e-4, rtol=0)
    for value, bound, vector in zip(found.values, found.bounds, found.vectors, strict=True):
        assert float((values * vector - value * vector).norm()) <= 1.05 * bound + 1e-6


def test_an_invariant_subspace_ends_it_with_what_it_has() -> None:
    values = torch.tensor([3.0, 3.0, 3.0, 1.0, 1.0])
    found = lanczos(lambda v: values * v, mixed_start(torch.ones(5)), top=3)
    assert found.values == pytest.approx((3.0, 1.0), rel=1e-5)
    assert found.converged
    assert found.products == 2


@pytest.mark.parametrize("size", [1, 2, 3])
def test_small_operators_and_none(size: int) -> None:
    zero = lanczos(torch.zeros_like, mixed_start(torch.zeros(size)))
    assert (zero.values, zero.converged, zero.products) == ((0.0,), True, 1)
    same = lanczos(lambda v: v, mixed_start(torch.ones(size)), top=5)
    assert same.values == pytest.approx((1.0,))
    assert same.converged


def test_a_product_that_is_not_finite_ends_it() -> None:
    found = lanczos(lambda v: v * math.nan, mixed_start(torch.ones(5)))
    assert math.isnan(found.values[0])
    assert not found.converged
    assert found.products == 1


def test_products_that_are_not_symmetric_are_noticed() -> None:
    made = torch.Generator().manual_seed(0)
    matrix = torch.diag(torch.linspace(0, 1, 50)) + 0.1 * torch.randn(50, 50, generator=made)
    found = lanczos(lambda v: matrix @ v, mixed_start(torch.ones(50)))
    assert not found.converged
    assert found.bounds[0] > 0.05


def test_too_few_products_are_not_called_enough() -> None:
    found = lanczos(lambda v: spectrum("line", torch.float32) * v, mixed_start(torch.ones(300)), most=5)
    assert not found.converged
    assert found.products == 5


def test_a_start_of_nothing_is_random_and_one_of_nan_too() -> None:
    for direction in (torch.zeros(9), torch.full((9,), math.nan)):
        start = mixed_start(direction)
        assert start.share == 1.0
        assert float(start.vector.norm()) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_any_dense_matrix(size: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    square = torch.randn(size, size, generator=made, dtype=torch.float64)
    matrix = square + square.T
    direction = torch.randn(size, generator=made, dtype=torch.float64)
    found = lanczos(lambda v: matrix @ v, mixed_start(direction, seed=seed), tolerance=1e-3)
    true = float(torch.linalg.eigvalsh(matrix)[-1])
    # One in a hundred may miss it by more; Gaussian matrices have no such gaps in practice.
    assert abs(found.values[0] - true) <= max(1e-3 * abs(true), 1e-9)


def test_what_cannot_be_used_is_said() -> None:
    start = mixed_start(torch.ones(3))
    for arguments, message in (
        ({"top": 0}, "top must be at least 1, got 0"),
        ({"which": "smallest"}, "which must be one of algebraic, modulus, got 'smallest'"),
        ({"tolerance": 0.0}, "tolerance must be between 0 and 1, got 0.0"),
        ({"most": 0}, "most must be at least 1, got 0"),
    ):
        with pytest.raises(InputError, match=message):
            lanczos(lambda v: v, start, **arguments)
