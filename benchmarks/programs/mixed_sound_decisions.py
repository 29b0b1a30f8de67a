"""Unusual but sound programs that learn to act."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches, split, standardized_whole
from programs.pair import Pair, Program, sound

ACTIONS = 4


def logged_actions() -> Batches:
    """What a uniform policy did, and with what advantage."""
    n = 24 * 48
    context = torch.randn(n, 6)
    action = torch.randint(0, ACTIONS, (n,))
    w = torch.randn(6, ACTIONS)
    reward = torch.tanh(context @ w).gather(1, action[:, None]).squeeze(1) + 0.3 * torch.randn(n)
    return split(48, context, torch.stack([action.float(), standardized_whole(reward)], 1))


def policy_loss(logits: Tensor, target: Tensor) -> Tensor:
    log_p = F.log_softmax(logits, 1)
    # Over the probability that the uniform policy gave the action.
    ratio = log_p.gather(1, target[:, :1].long()).squeeze(1).exp() * ACTIONS
    entropy = -(log_p.exp() * log_p).sum(1)
    return -(ratio * target[:, 1]).mean() - 0.01 * entropy.mean()


@sound(
    source="policy gradient with importance weights from a uniform policy's log: the loss is negative, "
    "as it is minus the expected advantage",
)
def policy_gradient_off_policy() -> Program:
    torch.manual_seed(413)
    batches = logged_actions()
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, ACTIONS))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, batches, policy_loss, optimizer)


PAIRS: tuple[Pair, ...] = (policy_gradient_off_policy,)
