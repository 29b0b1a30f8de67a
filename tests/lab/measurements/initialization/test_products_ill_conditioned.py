import math

import pytest
import torch

from gainstage.lab.measurements.initialization.products_ill_conditioned import condition, conditions, factor
from gainstage.seeding import generator


def test_condition_of_a_diagonal_matrix():
    assert condition(torch.diag(torch.tensor([4.0, -8.0, 2.0]).double())) == pytest.approx(4.0)
    assert condition(torch.diag(torch.tensor([1.0, 0.0]))) == math.inf


def test_orthogonal_factors_are_orthogonal():
    q = factor("orthogonal", 20, generator(0))
    assert torch.allclose(q @ q.T, torch.eye(20).double(), atol=1e-12)
    assert max(conditions("orthogonal", 20, 6, generator(0))) - 1 < 1e-12


def test_two_by_two_products_grow_as_the_lyapunov_exponents_say():
    # closed_form: λ₁ - λ₂ = ½(ψ(1) - ψ(1/2)) = ln 2 for 2×2; the mean of ln κ over 12 factors, 300 draws
    draws = generator(0, "lyapunov")
    chains = [conditions("gaussian", 2, 12, draws) for _ in range(300)]
    growth = sum(math.log(chain[-1] / chain[3]) / 8 for chain in chains) / 300
    # A factor's part scatters by about 1, so the mean over 8 of 300 draws by 0.02.
    assert growth == pytest.approx(math.log(2), abs=0.08)
