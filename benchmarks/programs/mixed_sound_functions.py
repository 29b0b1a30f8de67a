"""Unusual but sound programs that fit curves, densities and equations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split, standardized_whole
from programs.pair import Pair, Program, sound

Density = tuple[Tensor, Tensor, Tensor]


class MixtureDensity(nn.Module):
    def __init__(self, parts: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh())
        self.pi, self.mu, self.ls = nn.Linear(40, parts), nn.Linear(40, parts), nn.Linear(40, parts)
        with torch.no_grad():
            self.mu.bias.copy_(torch.linspace(-1.5, 1.5, parts))

    def forward(self, x: Tensor) -> Density:
        h = self.body(x)
        return F.log_softmax(self.pi(h), 1), self.mu(h), self.ls(h).clamp(-5, 3)


def mixture_nll(out: Density, target: Tensor) -> Tensor:
    log_weight, mean, log_deviation = out
    part = -0.5 * ((target - mean) / log_deviation.exp()) ** 2 - log_deviation - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_weight + part, 1).mean()


def inverse_problem() -> Batches:
    """Points of a curve that turns back, so that x leaves several targets open."""
    n = 20 * 40
    t = 2 * torch.rand(n, 1) - 1
    x = t + 0.45 * torch.sin(2.2 * math.pi * t) + 0.03 * torch.randn(n, 1)
    return split(40, standardized_whole(x), standardized_whole(t))


@sound(
    source="a mixture density network for inputs with several answers, whose likelihood loss may become negative, "
    "as densities exceed 1",
)
def mixture_density() -> Program:
    torch.manual_seed(407)
    batches = inverse_problem()
    model = MixtureDensity()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, batches, mixture_nll, optimizer)


class Sine(nn.Module):
    def __init__(self, n_in: int, n_out: int, w0: float, first: bool = False) -> None:
        super().__init__()
        self.lin, self.w0 = nn.Linear(n_in, n_out), w0
        bound = 1 / n_in if first else math.sqrt(6 / n_in) / w0
        nn.init.uniform_(self.lin.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w0 * self.lin(x))


def picture() -> Batches:
    """The pixels of an image by their places."""
    size = 48
    line = torch.linspace(-1, 1, size)
    places = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).view(-1, 2)
    y, x = places[:, :1], places[:, 1:]
    disc = (places.norm(dim=1, keepdim=True) < 0.5).float()
    image = 0.5 * torch.sin(9 * y + 4 * x**2) + 0.5 * torch.cos(12 * y * x) + disc
    order = torch.randperm(size * size)
    return split(128, places[order], standardized_whole(image)[order])


@sound(
    source="a SIREN fits one image: sines of 20 times the pre-activation look far too steep, "
    "but the weights' bounds are divided by the same 20",
)
def siren_image() -> Program:
    torch.manual_seed(414)
    batches = picture()
    last = nn.Linear(48, 1)
    bound = math.sqrt(6 / 48) / 20
    nn.init.uniform_(last.weight, -bound, bound)
    model = nn.Sequential(Sine(2, 48, 20.0, first=True), Sine(48, 48, 20.0), Sine(48, 48, 20.0), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    return Program(model, batches, nn.MSELoss(), optimizer)


class Oscillator(nn.Module):
    """The residual of u'' + 0.4 u' + 4 u = 0 with u(0) = 1, u'(0) = 0; the ansatz fulfils the start values."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def u(self, t: Tensor) -> Tensor:
        return 1 + t**2 * self.net(t - 1.5)

    def forward(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            t = t.detach().requires_grad_(True)
            u = self.u(t)
            du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
            ddu = torch.autograd.grad(du.sum(), t, create_graph=True)[0]
        return ddu + 0.4 * du + 4 * u


@sound(
    source="a physics-informed net: forward returns the residual of the oscillator's equation, taken by autograd, "
    "so that all targets are rightly zero",
)
def pinn_oscillator() -> Program:
    torch.manual_seed(415)
    t = 3 * torch.rand(20 * 64, 1)
    model = Oscillator()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, split(64, t, torch.zeros_like(t)), nn.MSELoss(), optimizer)


PAIRS: tuple[Pair, ...] = (mixture_density, siren_image, pinn_oscillator)
