"""ACT007: second derivatives through rectifiers, and first ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs

POINTS = torch.rand(64, 1, generator=torch.Generator().manual_seed(0))


class Solution(nn.Module):
    """Returns a derivative of its network, of first or second order."""

    def __init__(self, act: Callable[[], nn.Module], order: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(1, 32), act(), nn.Linear(32, 32), act(), nn.Linear(32, 1))
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        found = self.net(x)
        for _ in range(self.order):
            (found,) = torch.autograd.grad(found.sum(), x, create_graph=True)
        return found


def spoken(model: nn.Module, loss: object = None) -> list[str]:
    return [
        f.code for f in gs.check(model, (POINTS, torch.sin(3 * POINTS)), loss or nn.MSELoss(), select="ACT007").findings
    ]


@pytest.mark.parametrize(
    ("act", "order", "expected"),
    [
        (nn.ReLU, 2, ["ACT007"]), (nn.LeakyReLU, 2, ["ACT007"]), (nn.ReLU, 1, []), (nn.ReLU, 0, []),
        (nn.Tanh, 2, []), (nn.SiLU, 2, []), (nn.Softplus, 2, []),
    ],
)  # fmt: skip
def test_derivatives_of_a_network(act: type[nn.Module], order: int, expected: list[str]) -> None:
    assert spoken(Solution(act, order)) == expected


def test_a_gradient_penalty_is_a_first_derivative() -> None:
    critic = Solution(nn.LeakyReLU, 0)

    def penalized(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        at = POINTS.detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic.net(at).sum(), at, create_graph=True)
        return outputs.mean() + ((slope.norm(dim=1) - 1) ** 2).mean()

    assert spoken(critic, penalized) == []
