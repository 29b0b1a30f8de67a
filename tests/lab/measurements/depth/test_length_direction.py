import pytest
import torch

from gainstage.lab.catalogue.depth import length_direction
from gainstage.lab.measurements.depth.length_direction import problem_of, turned
from gainstage.seeding import generator

PROBLEM = problem_of(length_direction.CLAIM.designs["quick"], 1000)


def start():
    return torch.randn(20, generator=generator(0, "test"), dtype=torch.float64)


def test_expectations_are_those_of_samples():
    w, count = 0.5 * start(), 400_000
    covariance = PROBLEM.second - torch.outer(PROBLEM.mean, PROBLEM.mean)
    noise = torch.randn(count, 20, generator=generator(1, "test"), dtype=torch.float64)
    z = noise @ torch.linalg.cholesky(covariance).T + PROBLEM.mean
    assert PROBLEM.loss(w) == pytest.approx(float(torch.nn.functional.softplus(z @ w).mean()), abs=0.01)
    slope = torch.sigmoid(z @ w)
    torch.testing.assert_close(PROBLEM.gradient(w), slope @ z / count, atol=0.01, rtol=0)


def test_the_gradient_vanishes_at_the_best_length_and_direction():
    best = PROBLEM.scaled(PROBLEM.best_direction)
    assert float(PROBLEM.gradient(best).norm()) < 1e-9
    assert float(PROBLEM.gradient(PROBLEM.scaled(start())).norm()) > 1e-3


def test_a_step_is_a_gradient_step_on_the_rayleigh_quotient():
    w = start()
    after, largest = turned(PROBLEM, w, 1.0), torch.linalg.eigvalsh(PROBLEM.second)[-1]
    square, inner = w @ PROBLEM.second @ w, PROBLEM.mean @ w
    expected = w + square / (largest * inner) * (PROBLEM.mean - PROBLEM.second @ w * inner / square)
    cosine = torch.nn.functional.cosine_similarity(after, expected, dim=0).abs()
    assert float(cosine) == pytest.approx(1.0, abs=1e-9)
    assert PROBLEM.loss(after) < PROBLEM.loss(PROBLEM.scaled(w))
