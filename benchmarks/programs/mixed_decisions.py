"""Mixed programs that learn to act."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split
from programs.pair import Pair, Program, pair


def cart_poles() -> Batches:
    """States of a cart with a pole, and what was done in them with its value."""
    n = 24 * 32
    # Position, speed, angle, angular speed.
    state = torch.randn(n, 4) * torch.tensor([1.0, 1.0, 0.3, 1.0])
    action = torch.randint(0, 2, (n,))
    push = 2 * action.float() - 1
    tilt = 3.0 * state[:, 2] + state[:, 3] - 0.8 * push + 0.2 * state[:, 1]
    value = 6 * torch.exp(-(tilt**2) / 2) - 0.8 * state[:, 0] ** 2 + 0.2 * torch.randn(n)
    return split(32, state, torch.stack([action.float(), value], 1))


def td_loss(values: Tensor, target: Tensor) -> Tensor:
    chosen = values.gather(1, target[:, :1].long()).squeeze(1)
    return F.mse_loss(chosen, target[:, 1])


@pair(
    "learning-rate",
    "optimizer",
    why="SGD with lr=0.1 and momentum for the Q network; the loss explodes in the first steps "
    "and then the units are dead, one value for all states",
    source="symptom: 'DQN Q-values explode and become the same for every state; lower the learning rate'",
)
def qnet_sgd_lr_high(faulty: bool) -> Program:
    torch.manual_seed(207)
    batches = cart_poles()
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 if faulty else 2e-3, momentum=0.9)
    return Program(model, batches, td_loss, optimizer)


PAIRS: tuple[Pair, ...] = (qnet_sgd_lr_high,)
