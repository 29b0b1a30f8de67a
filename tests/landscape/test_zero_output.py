"""The loss of a network that knows nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.landscape.objective import Objective
from gainstage.landscape.zero_output import constant_output_loss, zero_output_loss
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


CONSTANT: dict[str, tuple[torch.Tensor, torch.Tensor, Callable[..., torch.Tensor], float | None]] = {
    "the mean of the targets": (torch.zeros(4, 1), torch.tensor([[8.0], [12.0], [8.0], [12.0]]),
                                nn.functional.mse_loss, 4.0),
    "their share": (torch.full((4, 1), 0.9), torch.tensor([[1.0], [0.0], [0.0], [0.0]]),
                    nn.functional.binary_cross_entropy, -0.25 * math.log(0.25) - 0.75 * math.log(0.75)),
    "zero": (torch.randn(4, 10) * 9, torch.arange(4), nn.functional.cross_entropy, math.log(10)),
    "the outputs' own mean": (torch.full((4, 10), math.log(0.1)), torch.arange(4), nn.functional.nll_loss,
                              math.log(10)),
    "none": (torch.ones(4, 1), torch.ones(4, 1), lambda outputs, targets: -(outputs * targets).abs().mean(), None),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANT)
def test_the_best_constant_answer(name: str) -> None:
    outputs, targets, loss, expected = CONSTANT[name]
    outputs, targets = (tensor.repeat(2, *[1] * (tensor.ndim - 1)) for tensor in (outputs, targets))
    objective = Objective(gs.Subject(nn.Linear(4, outputs.shape[1]), (torch.ones(8, 4), targets), loss))

    assert constant_output_loss(objective, outputs) == (None if expected is None else pytest.approx(expected))


def test_of_one_sample_the_mean_is_its_own_answer() -> None:
    model, batch = nn.Linear(4, 10), (torch.ones(1, 4), torch.tensor([3]))
    known = torch.zeros(1, 10).index_fill_(1, torch.tensor([3]), 9.0)

    assert constant_output_loss(Objective(gs.Subject(model, batch)), known) == pytest.approx(math.log(10))


@pytest.mark.parametrize("seed", range(4))
def test_what_owes_nothing_to_the_targets_is_no_better(seed: int) -> None:
    torch.manual_seed(seed)
    outputs, targets = torch.randn(512, 5) * 3, torch.randint(5, (512,))
    objective = Objective(gs.Subject(nn.Linear(4, 5), (torch.ones(512, 4), targets)))
    constant = constant_output_loss(objective, outputs)

    assert constant is not None
    assert float(nn.functional.cross_entropy(outputs, targets)) > constant
    assert constant <= math.log(5) * 1.001
