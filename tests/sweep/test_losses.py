"""The cross-entropy of many runs beside torch's own of each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gainstage.sweep.losses import cross_entropies, losses


def test_cross_entropies_are_those_of_torch_and_its_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = 30 * torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (3, 7), generator=generator)
    found, gradient = cross_entropies(outputs, labels)
    for run in range(3):
        own = outputs[run].t().requires_grad_()
        loss = F.cross_entropy(own, labels[run])
        (expected,) = torch.autograd.grad(loss, own)
        torch.testing.assert_close(found[run], loss.detach(), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(gradient[run], expected.t(), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(losses(F.cross_entropy, outputs.transpose(1, 2), labels, shared=False), found)


def test_outputs_that_are_not_finite_spoil_their_own_run_alone() -> None:
    outputs = torch.zeros(2, 3, 4)
    outputs[0, 1, 2] = torch.inf
    found, gradient = cross_entropies(outputs, torch.zeros(2, 4, dtype=torch.int64))
    assert found.isnan().tolist() == [True, False]
    assert gradient[1].isfinite().all()


@pytest.mark.parametrize("label", [-100, 3])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        cross_entropies(torch.zeros(1, 3, 1), torch.tensor([[label]]))
