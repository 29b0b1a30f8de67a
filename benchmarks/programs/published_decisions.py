"""Published programs that recommend and act."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, loader


class TwoTower(nn.Module):
    def __init__(self, detach: bool, n_users: int = 60, n_items: int = 80, d: int = 8) -> None:
        super().__init__()
        self.user = nn.Embedding(n_users, d)
        self.item = nn.Embedding(n_items, d)
        self.mlp = nn.Sequential(nn.Linear(2 * d, 32), nn.ReLU(), nn.Linear(32, 1))
        self.detach = detach

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        e = torch.cat([self.user(user), self.item(item)], 1)
        if self.detach:
            e = torch.from_numpy(e.detach().numpy())
        return self.mlp(e).squeeze(1)


def ratings() -> Batches:
    g = generator(360)
    of_user, of_item = torch.randn(60, 2, generator=g), torch.randn(80, 2, generator=g)
    user_bias, item_bias = torch.randn(60, generator=g), torch.randn(80, generator=g)
    u = torch.randint(0, 60, (2000,), generator=g)
    i = torch.randint(0, 80, (2000,), generator=g)
    r = user_bias[u] + item_bias[i] + 0.7 * (of_user[u] * of_item[i]).sum(1) + 0.2 * torch.randn(2000, generator=g)
    return loader((u, i, (r - r.mean()) / r.std()), 100, 36)


@pair(
    "wiring",
    why="embeddings pass through numpy in forward, so they get no gradient and stay random",
    source="symptom: PyTorch forum 'embedding weights do not update', "
    "answer: do not detach / convert to numpy in forward",
)
def recommender_detached(faulty: bool) -> Program:
    torch.manual_seed(36)
    model = TwoTower(detach=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, ratings(), nn.MSELoss(), optimizer)


class QNet(nn.Module):
    def __init__(self, relu_out: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 48)
        self.fc2 = nn.Linear(48, 48)
        self.q = nn.Linear(48, 3)
        self.relu_out = relu_out

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        h = F.relu(self.fc2(F.relu(self.fc1(state))))
        q = self.q(h)
        if self.relu_out:
            q = F.relu(q)
        return q.gather(1, action).squeeze(1)


def replay() -> Batches:
    """A memory like mountain car's: minus the number of (hundreds of) steps to the goal."""
    g = generator(420)
    n = 1000
    s = torch.randn(n, 4, generator=g)
    a = torch.randint(0, 3, (n, 1), generator=g)
    push = (a.squeeze(1) - 1).float()
    slope = 1.2 + 0.6 * torch.tanh(s[:, 0] - 0.5 * s[:, 1])
    steps = slope - 0.5 * push * torch.sign(s[:, 1]) + 0.2 * s[:, 2] * s[:, 3].clamp(-1, 1)
    returns = -steps.clamp(min=0.0)
    return loader((s, a, returns + 0.05 * torch.randn(n, generator=g)), 50, 42)


@pair(
    "activation",
    why="ReLU on the output of the Q-network although all returns are negative: "
    "Q-values are 0 for every state and action",
    source="symptom: SO 'DQN outputs all zeros / same action', answer: linear output layer",
)
def dqn_relu_output(faulty: bool) -> Program:
    torch.manual_seed(42)
    model = QNet(relu_out=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, replay(), nn.SmoothL1Loss(), optimizer)


PAIRS: tuple[Pair, ...] = (recommender_detached, dqn_relu_output)
