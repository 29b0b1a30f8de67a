import pytest
import torch
import torch.nn.functional as F

from gainstage.lab.measurements.how_it_helps.theorem_4_1 import Problem, random_problem, sides
from gainstage.seeding import generator


@pytest.fixture
def problem():
    return random_problem(16, 6, 4, generator(3, "test"))


def test_the_left_side_is_that_of_torchs_batch_norm(problem):
    y = problem.y.clone().requires_grad_()
    z = F.batch_norm(y, None, None, problem.gamma, problem.beta, training=True, eps=1e-5)
    (gradient,) = torch.autograd.grad(problem.rest(z), y)
    assert sides(problem, 1e-5).left == pytest.approx(gradient.square().sum(0), rel=1e-10)


def test_without_eps_the_sides_are_equal_and_with_it_the_left_is_smaller(problem):
    exact, loose = sides(problem, 0.0), sides(problem, 0.1)
    assert exact.left == pytest.approx(exact.right, rel=1e-10)
    assert bool((loose.left < loose.right).all())


def test_constant_statistics_leave_the_whole_gradient(problem):
    found = sides(problem, 0.0, constant=True)
    assert found.left == pytest.approx(found.whole, rel=1e-10)


def test_where_the_norm_changes_nothing_both_readings_agree(problem):
    # closed_form: γ = σ and β = μ make z = y, so the gradient at y without the norm is the one at its output
    y = problem.y
    same = Problem(y, y.std(0, correction=0), y.mean(0), problem.rest)
    found = sides(same, 0.0)
    assert found.literal == pytest.approx(found.right, rel=1e-9)
    assert found.whole == pytest.approx(found.output, rel=1e-9)
