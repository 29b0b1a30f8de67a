"""Alignment of the gradients at the outputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.landscape import output_alignment
from gainstage.trace import Subject
from landscape.quadratics import normalized


def given(d: torch.Tensor) -> Subject:
    """A network whose gradient at sample b's outputs is d_b."""
    model = nn.Linear(d.shape[1], d.shape[1], bias=False)
    return Subject(
        model, (torch.randn(d.shape, generator=torch.Generator().manual_seed(0)), d), lambda y, t: (y * t).sum()
    )


def test_cosines_and_signs_have_their_closed_forms() -> None:
    found = output_alignment(given(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])))
    assert found.mean_cosine == pytest.approx(-1 / 3)
    assert found.min_cosine == -1.0
    assert found.sign_alignment == pytest.approx((2 + 2) / 6)
    assert found.samples == 3


def test_the_figures_are_those_of_a_loop_behind_batch_norm() -> None:
    subject = normalized()
    found = output_alignment(subject)
    x, t = subject.batches.first()
    z = subject.model(x)
    (d,) = torch.autograd.grad(nn.functional.cross_entropy(z, t), [z])
    cosines = [float(torch.cosine_similarity(d[i], d[j], dim=0)) for i in range(32) for j in range(i)]
    assert found.mean_cosine == pytest.approx(sum(cosines) / len(cosines))
    assert found.min_cosine == pytest.approx(min(cosines))
    assert found.sign_alignment == pytest.approx(float(d.sum(0).abs().sum() / d.abs().sum()))
    assert found.top_class_share == pytest.approx(int(z.argmax(1).bincount().max()) / 32)


def test_samples_without_a_gradient_are_left_out() -> None:
    found = output_alignment(given(torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0], [math.nan, 0.0]])))
    assert (found.mean_cosine, found.samples) == (1.0, 2)
    assert found.note == "2 samples without a finite gradient other than zero are left out"
    none = output_alignment(given(torch.zeros(4, 2)))
    assert none.mean_cosine is None
    assert "fewer than two samples" in none.note


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(SubjectError, match="got a subject with forward="):
        output_alignment(normalized().replace(forward=lambda model, batch: model(batch[0]).sum()))
    with pytest.raises(SubjectError, match="must be differentiable, got ZeroDivisionError"):
        output_alignment(normalized().replace(loss=lambda y, t: 1 / 0))


def test_classes_in_the_last_dimension_are_found_by_the_targets() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.tensor([0.0, 0.0, 1.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shift

    x = torch.zeros(4, 5, 3)
    x[:, 0, 0] = 2.0  # the first of five positions is of class 0, the others of class 2
    assert output_alignment(Tokens(), (x, torch.zeros(4, 5).long())).top_class_share == pytest.approx(4 / 5)
    assert output_alignment(Tokens(), (x, torch.zeros(4, 3).long())).top_class_share == pytest.approx(1)


def test_a_batch_without_samples_has_no_figures() -> None:
    found = output_alignment(nn.Linear(2, 3), (torch.zeros(0, 2), torch.zeros(0).long()))
    assert (found.samples, found.mean_cosine, found.top_class_share) == (0, None, None)
