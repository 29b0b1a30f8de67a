"""One training of a setup, and its score on the held-out samples: larger is better, at most 1."""

from __future__ import annotations

import torch
from torch import nn

from accuracy.setup import Setup, batches

FLOOR = {"classes": 0.0, "binary": 0.0, "values": -1.0}


def trained_score(setup: Setup, seed: int) -> float:
    """The score after ``setup.steps`` steps; the floor of its kind where a step or the evaluation raises."""
    try:
        train_(setup, seed)
        return score(setup)
    # What torch raises for a label outside the classes, a batch of one or a probability above one is of many types.
    except (RuntimeError, ValueError, IndexError):
        return FLOOR[setup.kind]


def train_(setup: Setup, seed: int) -> None:
    setup.model.train()
    optimizer, series = setup.optimizer(), batches(setup, seed)
    for _ in range(setup.steps):
        inputs, targets = next(series)
        optimizer.zero_grad(set_to_none=True)
        loss = setup.loss(setup.model(inputs), targets)
        # A run whose loss is no number any more cannot recover.
        if not torch.isfinite(loss):
            nn.init.constant_(next(setup.model.parameters()).requires_grad_(False), torch.nan)
            return
        loss.backward()
        optimizer.step()


def score(setup: Setup) -> float:
    setup.model.eval()
    with torch.no_grad():
        outputs = setup.model(setup.data.test_inputs).float()
    targets = setup.data.test_targets
    if not torch.isfinite(outputs).all():
        return FLOOR[setup.kind]
    if setup.kind == "classes":
        return float((outputs.argmax(-1) == targets).float().mean())
    outputs = outputs.view_as(targets)
    if setup.kind == "binary":
        return float(((outputs > setup.threshold) == (targets > 0.5)).float().mean())
    residual, spread = (outputs - targets).square().mean(), (targets - targets.mean(0)).square().mean()
    return max(FLOOR["values"], 1 - float(residual / spread))
