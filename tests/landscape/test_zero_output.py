"""The loss of a network that knows nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.landscape.objective import Objective
from gainstage.landscape.zero_output import zero_output_loss
from zoo.fingerprint import unchanged

INPUTS = torch.ones(6, 4)
CASES: dict[str, tuple[torch.Tensor, Callable[..., torch.Tensor], float]] = {
    "ten classes": (torch.randint(10, (6,)), nn.functional.cross_entropy, math.log(10)),
    "odds": (torch.ones(6, 10), nn.functional.binary_cross_entropy_with_logits, math.log(2)),
    "squares": (torch.full((6, 10), 3.0), nn.functional.mse_loss, 9.0),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms(name: str) -> None:
    targets, loss, expected = CASES[name]
    model = nn.Linear(4, 10)
    with unchanged(model, (INPUTS, targets)):
        found = zero_output_loss(Objective(gs.Subject(model, (INPUTS, targets), loss)))

    assert found == pytest.approx(expected)


def test_none_where_there_is_none_to_be_had() -> None:
    model, batch = nn.Linear(4, 1), (INPUTS, torch.ones(6, 1))
    itself = gs.Subject(model, batch, forward=lambda m, b: m(b[0]).square().mean())
    logarithm = gs.Subject(model, batch, lambda outputs, targets: -outputs.square().log().mean() * targets.mean())
    picky = gs.Subject(model, batch, lambda outputs, targets: (outputs - targets).sum() / int(outputs.any()))

    assert [zero_output_loss(Objective(subject)) for subject in (itself, logarithm, picky)] == [None, None, None]
