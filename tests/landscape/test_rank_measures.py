"""Four ranks: closed forms, bounds, and representations as hooks see them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gainstage.errors import InputError
from gainstage.landscape import ranks, representation_ranks, weight_ranks


def test_orthogonal_matrices_have_full_rank_by_any_measure() -> None:
    q = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double())[0]
    found = ranks(q)
    assert (found.stable_rank, found.effective_rank, found.trace_rank) == pytest.approx((6, 6, 6))
    assert found.tau_rank == 6


def test_outer_products_have_rank_one_by_any_measure() -> None:
    found = ranks(torch.outer(torch.arange(1.0, 5), torch.arange(1.0, 9)).double())
    assert (found.stable_rank, found.effective_rank, found.trace_rank) == pytest.approx((1, 1, 1))
    assert found.tau_rank == 1


def test_a_diagonal_has_its_closed_forms() -> None:
    s = torch.tensor([3.0, 2.0, 1.0]).double()
    found = ranks(torch.diag(s), tau=0.25)
    p = s / 6
    assert found.stable_rank == pytest.approx(14 / 9)
    assert found.effective_rank == pytest.approx(math.exp(-float((p * p.log()).sum())))
    assert found.trace_rank == pytest.approx(14**2 / 98)
    assert found.tau_rank == 2  # eigenvalues 9, 4, 1 against 0.25 * 14/3


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 100), st.floats(1e-20, 1e20))
def test_ranks_are_bounded_ordered_and_free_of_scale(rows: int, columns: int, seed: int, scale: float) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()
    one, other = ranks(matrix), ranks(scale * matrix)
    least = min(rows, columns) + 1e-9
    assert 1 - 1e-9 <= one.stable_rank <= one.trace_rank + 1e-9 <= least + 1e-9
    assert 1 - 1e-9 <= one.effective_rank <= least
    assert one.stable_rank == pytest.approx(other.stable_rank)
    assert one.effective_rank == pytest.approx(other.effective_rank)
    assert one.tau_rank == other.tau_rank
    turned = ranks(matrix.T, units=columns)
    assert turned.trace_rank == pytest.approx(one.trace_rank)
    assert turned.tau_rank == one.tau_rank


def test_zero_and_what_cannot_be_used() -> None:
    assert ranks(torch.zeros(3, 3)).tau_rank == 0
    with pytest.raises(InputError, match="matrix must have two dimensions, got 3"):
        ranks(torch.zeros(2, 2, 2))
    with pytest.raises(InputError, match="tau must be positive and finite, got 0"):
        ranks(torch.eye(2), tau=0)
    with pytest.raises(InputError, match="most must be at least 2, got 1"):
        representation_ranks(nn.Linear(2, 2), torch.eye(2), most=1)


def test_representations_are_those_that_modules_return() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 5)).double()
    x = torch.randn(7, 3, 6, 6).double()
    found = {entry.name: entry for entry in representation_ranks(model, x)}
    first = nn.functional.conv2d(x, model[0].weight, model[0].bias).detach()
    for name, output in {"0": first, "1": first.relu(), "3": model(x).detach()}.items():
        matrix = output.flatten(1)
        assert (found[name].rows, found[name].columns) == tuple(matrix.shape)
        assert found[name].ranks == ranks(matrix)
    by_position = representation_ranks(model, x, positions=True)[0]
    assert (by_position.rows, by_position.columns) == (7 * 16, 4)
    assert by_position.ranks == ranks(first.movedim(1, -1).flatten(0, -2))


def test_positions_of_a_sequence_and_a_bounded_choice() -> None:
    (entry,) = representation_ranks(nn.Linear(4, 6), torch.randn(5, 3, 4), positions=True, most=8)
    assert (entry.rows, entry.columns) == (15, 6)
    assert entry.ranks is not None
    assert entry.ranks.trace_rank <= 6


def test_rank_collapses_without_batch_norm_and_not_with_it() -> None:
    def last(norm: bool) -> float:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for _ in range(60):
            layers += [nn.Linear(16, 16, bias=False), *([nn.BatchNorm1d(16, affine=False)] if norm else [])]
            nn.init.normal_(layers[-2 if norm else -1].weight, std=0.25)
        figures = representation_ranks(nn.Sequential(*layers), torch.randn(16, 16))[-1].ranks
        assert figures is not None
        return figures.trace_rank

    assert last(norm=False) < 1.5
    assert last(norm=True) > 2.5


def test_weights_and_what_is_not_finite() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[1].weight[0, 0] = math.inf
    one, bad = weight_ranks(model)
    assert one.ranks is not None
    assert one.ranks.tau_rank == 1
    assert bad.ranks is None
    assert representation_ranks(model, torch.randn(4, 4))[1].ranks is None


def test_a_matrix_that_is_not_finite_is_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match="matrix must be finite, got NaN or infinity"):
            ranks(torch.tensor([[value, 1.0], [1.0, 2.0]]))


def test_complex_matrices_count_both_parts() -> None:
    found = ranks(torch.tensor([[1.0, 1j], [1j, 1.0]]))  # unitary but for a factor
    assert (found.stable_rank, found.effective_rank, found.trace_rank) == pytest.approx((2, 2, 2))
