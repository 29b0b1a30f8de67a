"""Undoing an output's activation in the loss gives the same number as the loss of the logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.errors import SubjectError
from gainstage.remedies.losses import log_of_probabilities, logit_of_probabilities, loss_without

LOGITS, CLASSES = torch.randn(32, 5), torch.randint(5, (32,))
BINARY = torch.randint(2, (32, 5)).float()


def subject(loss: Any, **options: Any) -> gs.Subject:
    return gs.Subject(nn.Linear(5, 5), (LOGITS, CLASSES), loss, **options)


@pytest.mark.parametrize(
    ("op", "activate", "loss", "targets"),
    [
        ("softmax", lambda z: z.softmax(1), nn.CrossEntropyLoss(), CLASSES),
        ("softmax", lambda z: z.softmax(1), nn.CrossEntropyLoss(weight=torch.arange(1.0, 6)), CLASSES),
        ("softmax", lambda z: z.softmax(1), nn.CrossEntropyLoss(label_smoothing=0.1), CLASSES),
        ("softmax", lambda z: z.softmax(1), None, CLASSES),
        ("log_softmax", lambda z: z.log_softmax(1), nn.CrossEntropyLoss(), CLASSES),
        ("sigmoid", torch.sigmoid, nn.BCEWithLogitsLoss(), BINARY),
        ("sigmoid", torch.sigmoid, nn.BCEWithLogitsLoss(pos_weight=torch.full((5,), 3.0)), BINARY),
        ("sigmoid", torch.sigmoid, nn.CrossEntropyLoss(), CLASSES),
    ],
)
def test_the_loss_of_the_logits_and_its_gradient(op: str, activate: Any, loss: Any, targets: torch.Tensor) -> None:
    direct, undone = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    expected = (loss or F.cross_entropy)(direct, targets)
    function = loss_without(subject(loss), op)
    assert function is not None
    found = function(activate(undone), targets)
    assert torch.allclose(found, expected, rtol=1e-5)
    expected.backward()
    found.backward()
    assert torch.allclose(undone.grad, direct.grad, rtol=1e-3, atol=1e-6)


def test_it_is_the_negative_log_likelihood() -> None:
    p = LOGITS.softmax(1)
    function = loss_without(subject(nn.CrossEntropyLoss()), "softmax")
    assert torch.allclose(function(p, CLASSES), F.nll_loss(p.log(), CLASSES))
    binary = loss_without(subject(nn.BCEWithLogitsLoss()), "sigmoid")
    assert torch.allclose(binary(p, BINARY), F.binary_cross_entropy(p, BINARY), rtol=1e-5)
    assert function.__name__ == "CrossEntropyLoss_without_softmax"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_certain_outputs_stay_finite(dtype: torch.dtype) -> None:
    p = torch.tensor([0.0, 1.0, 0.5], dtype=dtype)
    assert bool(log_of_probabilities(p).isfinite().all())
    assert bool(logit_of_probabilities(p).isfinite().all())
    assert float(logit_of_probabilities(p)[2]) == 0


def test_what_cannot_be_undone() -> None:
    assert loss_without(subject(nn.CrossEntropyLoss()), "relu") is None
    assert loss_without(subject(None, forward=lambda m, b: m(b[0]).sum()), "softmax") is None
    with pytest.raises(SubjectError, match="output must be a tensor to undo its softmax, got dict"):
        loss_without(subject(nn.CrossEntropyLoss()), "softmax")({"logits": LOGITS}, CLASSES)
