"""What the audit says of each norm, against closed forms, and its distances against what chance does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gainstage import norm
from gainstage.norm.surgery.agreement import agreement
from zoo.fingerprint import unchanged


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("updates", [0, 3, 60])
def test_distances_are_what_updates_and_noise_explain(momentum: float | None, updates: int) -> None:
    """Over 2000 channels of fresh data, the distances are the expected ones, whatever the memory."""
    layer = nn.BatchNorm1d(2000, momentum=momentum).train()
    for seed in range(updates):
        layer(2 * drawn(64, 2000, seed=seed) + 1)
    x = 2 * drawn(64, 2000, seed=1000) + 1
    tracked = int(layer.num_batches_tracked)
    found = agreement(x, layer.running_mean, layer.running_var, momentum, tracked)
    assert found is not None
    assert found.shift == pytest.approx(found.expected_shift, rel=0.1)
    assert found.spread == pytest.approx(found.expected_spread, rel=0.1)
    assert not found.apart


def test_positions_of_one_sample_need_not_be_independent() -> None:
    """All positions alike: a standard error from their number would be eight times too small."""
    x = drawn(64, 500, 1, 1).expand(64, 500, 8, 8)
    found = agreement(x, torch.zeros(500), torch.ones(500), 0.1, None)
    assert found is not None
    assert found.expected_shift == pytest.approx((1 / 64 * (1 + 0.1 / 1.9)) ** 0.5, rel=0.05)
    assert not found.apart


@pytest.mark.parametrize(("mean", "var"), [(0.8, 1.0), (0.0, 9.0)])
def test_other_data_is_apart(mean: float, var: float) -> None:
    found = agreement(drawn(64, 100), torch.full((100,), mean), torch.full((100,), var), 0.1, 1000)
    assert found is not None
    assert found.apart


def test_too_few_values_say_nothing() -> None:
    assert agreement(drawn(1, 4, 8), torch.zeros(4), torch.ones(4), 0.1, 1) is None
    assert agreement(torch.zeros(8, 4), torch.zeros(4), torch.ones(4), 0.1, 1) is None


def test_rows_in_closed_form() -> None:
    layer = nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 0]]))
    model = nn.Sequential(layer, nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 4), nn.LayerNorm(4))
    x = torch.tensor([[1.0, 1, 1, 1], [-1.0, -1, -1, -1]])
    with unchanged(model, x):
        found = norm.audit(model, x)
    batch, layered = found.norms
    assert (batch.module, batch.layer, batch.values, batch.channels, batch.dead) == ("1", "0", 2, 3, 1)
    assert batch.level == pytest.approx((20 / 3) ** 0.5)  # outputs ±2, ±4, 0
    assert batch.gain == pytest.approx((20 / 3) ** 0.5)  # inputs ±1
    assert batch.effective_lr_scale == pytest.approx((1 / 4 * 1 / 16) ** 0.5)
    weights = sum(float(p.detach().square().sum()) for p in model[3].parameters())
    assert layered.effective_lr_scale == pytest.approx(1 / weights)
    assert layered.agreement is None
    assert "1/|w|²" in str(found)


def test_a_layer_that_others_read_is_none_that_the_norm_makes_invariant() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm, self.unused = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return y + self.norm(y)

    found = norm.audit(Skip(), drawn(8, 4))
    assert (found.norms[0].layer, found.norms[0].effective_lr_scale) == ("", None)
    assert [(entry.module, entry.reason) for entry in found.left] == [("unused", "it did not run")]


def test_what_recalibration_does_to_norms_that_are_apart() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16))
    x = drawn(256, 8) + 2
    model[1].num_batches_tracked.fill_(10_000)
    assert norm.audit(model, x).apart == ("1",)
    assert norm.audit(norm.recalibrate(model, x).model, x).apart == ()


def test_channels_scaled_to_nothing_are_dead_in_every_kind() -> None:
    for layer in (nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)):
        layer.weight.data[:3] = 0
        assert norm.audit(nn.Sequential(layer), drawn(4, 8, 3, 3)).norms[0].dead == 3
