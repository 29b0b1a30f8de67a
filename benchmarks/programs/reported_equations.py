"""Programs that solve a differential equation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from programs.pair import Pair, Program, pair


class PINN(nn.Module):
    """u(x) and u''(x) on [0, 1]."""

    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, 32), act(), nn.Linear(32, 32), act(), nn.Linear(32, 32), act(), nn.Linear(32, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_(True)
            u = self.net(x)
            du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
            d2u = torch.autograd.grad(du.sum(), x, create_graph=True)[0]
        return u, d2u


def points() -> tuple[Tensor, Tensor]:
    """Points within and, last, the two of the boundary, with the right-hand side there."""
    x = torch.cat([torch.rand(62, 1), torch.tensor([[0.0], [1.0]])])
    return x, -(math.pi**2) * torch.sin(math.pi * x)


def pde_loss(out: tuple[Tensor, Tensor], f: Tensor) -> Tensor:
    u, d2u = out
    return ((d2u[:-2] - f[:-2]) ** 2).mean() + 20 * (u[-2:] ** 2).mean()


@pair(
    "activation",
    "wiring",
    why="ReLU has no second derivative: the residual of u''=f gives no gradient, u stays at the trivial solution",
    source="https://discourse.julialang.org/t/unable-to-solve-a-differential-equation-using-neural-network/103723 "
    "(same with torch: relu in a PINN)",
)
def pinn_relu(faulty: bool) -> Program:
    torch.manual_seed(110)
    batches = [points() for _ in range(15)]
    model = PINN(nn.ReLU if faulty else nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, batches, pde_loss, optimizer)


PAIRS: tuple[Pair, ...] = (pinn_relu,)
