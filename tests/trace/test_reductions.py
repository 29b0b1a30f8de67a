"""Figures in one streaming pass, held to the slow obvious ones in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.trace import reductions
from gainstage.trace.figures import figures
from gainstage.trace.grams import gram_figures, sample_gram

DTYPES = {torch.float32: 1e-5, torch.float64: 1e-9, torch.bfloat16: 1e-5, torch.float16: 1e-5}


def obvious(tensor: torch.Tensor, unit_dim: int) -> dict[str, float]:
    x = tensor.double()
    units = x.movedim(unit_dim, 0).reshape(x.shape[unit_dim], -1)
    return {
        "mean": float(x.mean()),
        "std": float(x.std(correction=0)),
        "rms": float((x**2).mean().sqrt()),
        "max_abs": float(x.abs().max()),
        "zero_fraction": float((x == 0).double().mean()),
        "dead_fraction": float((units == 0).all(1).double().mean()),
        "unit_mean_rms": float((units.mean(1) ** 2).mean().sqrt()),
        "unit_std": float(units.var(1, correction=0).mean().sqrt()),
    }


def assert_exact(tensor: torch.Tensor, unit_dim: int, tolerance: float) -> None:
    found = figures(reductions.moments(tensor, unit_dim))
    expected = obvious(tensor, unit_dim)
    for name, value in expected.items():
        # A mean near zero is a difference of large sums: its error is relative to the values, not to itself.
        slack = tolerance * (expected["rms"] if name in ("mean", "unit_mean_rms") else 0)
        assert getattr(found, name) == pytest.approx(value, rel=tolerance, abs=slack + 1e-300), name


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    unit=st.integers(0, 1),
    dtype=st.sampled_from(list(DTYPES)),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 10**6),
)
def test_matches_the_obvious_figures(shape, unit, dtype, scale, offset, seed) -> None:
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    assert_exact(((draws + offset) * scale).to(dtype), unit, DTYPES[dtype])


@pytest.mark.parametrize("scale", [1e-25, 1e-18, 1e18, 1e25])
def test_squares_that_leave_float32_are_taken_in_float64(scale: float) -> None:
    assert_exact(torch.randn(64, 32) * scale, 1, 1e-5)


@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_a_mean_far_from_zero_costs_no_digits(offset: float) -> None:
    tensor = torch.randn(64, 300) + offset
    assert_exact(tensor, 1, 1e-5)
    assert_exact(tensor, 0, 1e-5)


def test_large_tensors_are_reduced_in_pieces() -> None:
    assert_exact(torch.randn(40, 16, 40, 40), 1, 1e-5)
    assert_exact(torch.randn(2, 300_000), 1, 1e-5)
    assert_exact(torch.randn(300_000, 2), 1, 1e-5)


def test_memory_layout_does_not_matter() -> None:
    tensor = torch.randn(8, 6, 10, 10)
    assert_exact(tensor.contiguous(memory_format=torch.channels_last), 1, 1e-5)
    assert_exact(tensor[::2, :, 1:, ::3], 1, 1e-5)
    assert_exact(torch.randn(5, 1).expand(5, 7), 1, 1e-5)


def test_constant_values_have_no_spread() -> None:
    found = figures(reductions.moments(torch.full((70, 33), 0.1), 1))
    assert found.std == 0
    assert found.unit_std == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_counted_and_left_out(bad: float) -> None:
    tensor = torch.randn(50, 8)
    expected = obvious(tensor[1:], 1)
    tensor[0] = bad
    found = figures(reductions.moments(tensor, 1))

    assert found.non_finite == 8
    assert found.rms == pytest.approx(expected["rms"], rel=1e-5)
    assert found.mean == pytest.approx(expected["mean"], rel=1e-4)


def test_nothing_finite_and_nothing_at_all() -> None:
    assert figures(reductions.moments(torch.full((3, 2), math.nan), 1)).rms is None
    assert figures(reductions.moments(torch.full((3, 2), math.nan), 1)).non_finite == 6
    assert figures(reductions.moments(torch.empty(0, 2), 1)).rms is None
    assert figures(reductions.moments(torch.tensor(3.0), None)).rms == 3


def test_complex_values_count_as_pairs() -> None:
    tensor = torch.randn(30, 4, dtype=torch.complex64)
    assert figures(reductions.moments(tensor)).rms == pytest.approx(
        float((tensor.abs() ** 2).mean() / 2) ** 0.5, rel=1e-5
    )


def test_plateaus() -> None:
    assert int(reductions.plateau_count(torch.tensor([-1.0, -0.5, 0.0, 0.99]), (-0.9, 0.9))) == 2


@pytest.mark.parametrize("features", [7, 2000])
def test_stable_rank_and_similarity(features: int) -> None:
    alike = torch.randn(1, features) * torch.rand(12, 1) + 0.0
    rank, similarity = gram_figures([sample_gram(alike, 12)])[0]
    assert rank == pytest.approx(1, rel=1e-4)
    assert similarity == pytest.approx(1, rel=1e-4)

    distinct = torch.eye(12, features) if features >= 12 else None
    if distinct is not None:
        rank, similarity = gram_figures([torch.eye(12, dtype=torch.float64)])[0]
        assert (rank, similarity) == (pytest.approx(12), pytest.approx(0))


def test_no_samples_have_no_rank() -> None:
    assert sample_gram(torch.randn(7, 3), 4) is None
    assert sample_gram(torch.randn(7), 7) is None
    assert gram_figures([torch.full((3, 3), math.nan), torch.zeros(3, 3), None]) == [(None, None)] * 3


def test_equal_rows() -> None:
    assert reductions.equal_rows(torch.ones(4, 3)) is True
    assert reductions.equal_rows(torch.randn(4, 3)) is False
    assert reductions.equal_rows(torch.ones(1, 3)) is None
    assert reductions.equal_rows(torch.ones(3)) is None
    rounded = torch.ones(4, 3) * 1e-3
    rounded[2] *= 1 + 1e-7
    assert reductions.equal_rows(rounded) is True


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-16, 1.0, 1e16, 1e30])
@pytest.mark.parametrize("shape", [(7, 5), (4, 6, 20, 20), (2, 3, 5000), (40, 40, 100)])
@pytest.mark.parametrize("unit_dim", [None, 0, 1, -1])
def test_any_magnitude_and_layout(scale: float, shape: tuple[int, ...], unit_dim: int | None) -> None:
    torch.manual_seed(0)
    tensor = torch.randn(shape) * scale
    tensor.select(1, 2).zero_()
    for laid in (
        tensor,
        tensor.transpose(0, 1).contiguous().transpose(0, 1),
        tensor.movedim(1, -1).contiguous().movedim(-1, 1),
    ):
        found = figures(reductions.moments(laid, unit_dim))
        wide = laid.double()
        rms = float(wide.pow(2).mean().sqrt())
        # Below 1e-38 float32 itself has fewer digits, and they are the tensor's own.
        assert found.rms == pytest.approx(rms, rel=1e-5)
        assert found.mean == pytest.approx(float(wide.mean()), rel=1e-5, abs=1e-6 * rms)
        assert found.max_abs == pytest.approx(float(wide.abs().max()), rel=1e-6)
        assert found.zero_fraction == pytest.approx(1 - float((wide != 0).double().mean()))
        gradient = reductions.magnitudes(laid, unit_dim)
        assert float(gradient.squares) == pytest.approx(float(wide.pow(2).sum()), rel=2e-5)
        dead = 1 if unit_dim == 1 or (unit_dim == -1 and len(shape) == 2) else 0
        assert int(gradient.dead) == dead
        assert found.dead_fraction == pytest.approx(dead / found.units)


@pytest.mark.slow
def test_a_hundred_million_values_in_half_precision_far_from_zero() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(1000, 100, 1000).mul_(0.5).add_(100).bfloat16()
    found = figures(reductions.moments(tensor, 1))
    chunks = [chunk.double() for chunk in tensor.split(50)]
    mean = sum(float(chunk.sum()) for chunk in chunks) / tensor.numel()
    var = sum(float((chunk - mean).pow(2).sum()) for chunk in chunks) / tensor.numel()
    assert found.mean == pytest.approx(mean, rel=1e-7)
    assert found.std == pytest.approx(var**0.5, rel=1e-5)
    assert reductions.moments(tensor[:10], None).values_per_unit == 10 * 100 * 1000
