"""Programs of reinforcement learning: a policy, a value of actions, a critic."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def bandits(w: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """States, and what a uniform policy did there beside the advantage it had of it."""
    s = torch.randn(n, 6)
    a = torch.randint(0, 4, (n,))
    best = (s @ w).argmax(1)
    r = torch.where(a == best, 1.0, 0.0) + 0.1 * torch.randn(n)
    advantage = (r - r.mean()) / r.std()
    return s, torch.stack([a.float(), advantage], 1)


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.logits = nn.Linear(64, 4)

    def forward(self, s: Tensor) -> Tensor:
        return self.logits(self.body(s))


def pg_objective(logits: Tensor, t: Tensor) -> Tensor:
    pi = torch.distributions.Categorical(logits=logits)
    ratio = pi.probs.gather(1, t[:, :1].long()).squeeze(1) / 0.25
    return torch.min(ratio * t[:, 1], ratio.clamp(0.2, 3.0) * t[:, 1]).mean()


def pg_loss(logits: Tensor, t: Tensor) -> Tensor:
    return -pg_objective(logits, t)


@pair(
    "loss",
    "optimizer",
    why="the surrogate objective is minimised instead of maximised (missing minus): loss falls nicely, "
    "average reward gets worse than random",
    source="symptom: policy gradient / PPO in PyTorch, loss decreases but the reward drops below the random policy",
)
def ppo_missing_minus(faulty: bool) -> Program:
    torch.manual_seed(113)
    w = torch.randn(6, 4)
    s, t = drawn(partial(bandits, w), 20 * 128, held_out=1000)
    model = Policy()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, split(128, s, t), pg_objective if faulty else pg_loss, optimizer)


def returns(w: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """States, and random actions beside what they return."""
    s = torch.randn(n, 8)
    q = 1.0 + s @ w + 0.5 * torch.sin(2 * s[:, :5])
    a = torch.randint(0, 5, (n,))
    r = q[torch.arange(n), a] + 0.1 * torch.randn(n)
    return s, torch.stack([a.float(), r], 1)


class QNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 64), nn.Linear(64, 64)
        self.v, self.adv = nn.Linear(64, 1), nn.Linear(64, 5)

    def forward(self, s: Tensor) -> Tensor:
        h = F.relu(self.fc2(F.relu(self.fc1(s))))
        a = self.adv(h)
        return self.v(h) + a - a.mean(1, keepdim=True)


def td_loss(q: Tensor, t: Tensor) -> Tensor:
    return F.smooth_l1_loss(q.gather(1, t[:, :1].long()).squeeze(1), t[:, 1])


def td_loss_of_max(q: Tensor, t: Tensor) -> Tensor:
    return F.smooth_l1_loss(q.max(1)[0], t[:, 1])


@pair(
    "loss",
    "wiring",
    why="TD loss compares the return with max_a Q(s,a) and not with Q of the action taken: "
    "the agent is no better than random although the loss falls",
    source="symptom: DQN in PyTorch does not learn, q_values.max(1)[0] used where gather(1, actions) belongs",
)
def dqn_max_instead_of_gather(faulty: bool) -> Program:
    torch.manual_seed(138)
    w = torch.randn(8, 5) / 2
    s, t = drawn(partial(returns, w), 25 * 128, held_out=1000)
    model = QNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)
    return Program(model, split(128, s, t), td_loss_of_max if faulty else td_loss, optimizer)


def cartpoles(n: int) -> tuple[Tensor, Tensor]:
    """Standardised states of a pole on a cart, and their value."""
    position, speed = 2.4 * (2 * torch.rand(n) - 1), 2 * torch.randn(n)
    s = torch.stack([position, speed, 0.2 * (2 * torch.rand(n) - 1), 2 * torch.randn(n)], 1)
    fallen = (6 * (s[:, 2] + 0.05 * s[:, 3])).abs().clamp(max=1)
    v = 1.0 - (s[:, 0] / 2.4) ** 2 - 0.5 * torch.tanh(s[:, 1] * s[:, 0]) - fallen
    s = s / torch.tensor([1.4, 2.0, 0.115, 2.0])
    return s, (v / 0.6).unsqueeze(1) + 0.05 * torch.randn(n, 1)


class Critic(nn.Module):
    def __init__(self, constant: bool) -> None:
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 1)
        for layer in (self.l1, self.l2, self.l3):
            if constant:
                nn.init.constant_(layer.weight, 0.05)
            else:
                nn.init.orthogonal_(layer.weight, 1.0 if layer is self.l3 else math.sqrt(2))
            nn.init.constant_(layer.bias, 0.0)

    def forward(self, s: Tensor) -> Tensor:
        return self.l3(torch.tanh(self.l2(torch.tanh(self.l1(s)))))


@pair(
    "init",
    why="nn.init.constant_ on the weights of a critic: all hidden units stay copies of one another, "
    "value estimates hardly beat the mean",
    source="symptom: actor-critic, critic loss plateaus at the variance of the returns, "
    "weights of all neurons identical",
)
def critic_constant_init(faulty: bool) -> Program:
    torch.manual_seed(144)
    x, y = drawn(cartpoles, 24 * 64, held_out=1000)
    model = Critic(constant=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, split(64, x, y), nn.HuberLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (ppo_missing_minus, dqn_max_instead_of_gather, critic_constant_init)
