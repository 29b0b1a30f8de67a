import pytest
import torch

from gainstage.lab.measurements.normalization.bn_cuts_low_intensity import mixed_shares, share
from gainstage.seeding import generator


def test_a_share_of_the_variance():
    parts = torch.tensor([[1.0, 3.0], [-1.0, -3.0]]) + torch.tensor([5.0, 7.0])
    assert share(parts) == pytest.approx(0.9)


def test_mixed_into_every_unit_alike_the_share_stays():
    inputs = torch.randn(512, 3, generator=generator(0), dtype=torch.float64)
    weight = torch.ones(4, 3, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.1, 3.0], dtype=torch.float64)[:, None]
    # closed_form: each unit is the same mix at another scale, so its share is the same before and behind BN
    before, after = mixed_shares(inputs, weight, eps=1e-30)
    assert after == pytest.approx(before, rel=1e-9)
