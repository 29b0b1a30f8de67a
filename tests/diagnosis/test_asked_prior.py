"""A loss with a prior on a code is asked what a code costs, and what it can earn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gainstage as gs
from gainstage.trace.target_records import PriorRecord

PICTURES = torch.randint(2, (24, 48), generator=torch.Generator().manual_seed(0)).float()
Outputs = tuple[Tensor, Tensor, Tensor]


class Coder(nn.Module):
    def __init__(self, last: nn.Module | None = None, listed: bool = False) -> None:
        super().__init__()
        self.reads, self.mean, self.log_variance = nn.Linear(48, 16), nn.Linear(16, 5), nn.Linear(16, 5)
        self.draws = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 48), last or nn.Identity())
        self.listed = listed

    def forward(self, x: Tensor) -> list[Tensor] | Outputs:
        seen = torch.relu(self.reads(x))
        mean, log_variance = self.mean(seen), self.log_variance(seen)
        outputs = self.draws(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()), mean, log_variance
        return list(outputs) if self.listed else outputs


def divergences(outputs: Outputs) -> Tensor:
    _, mean, log_variance = outputs
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def summed(outputs: Outputs, targets: Tensor) -> Tensor:
    fit = F.binary_cross_entropy_with_logits(outputs[0], targets, reduction="sum")
    return (fit + divergences(outputs).sum()) / len(targets)


def uneven(outputs: Outputs, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[0], targets) + divergences(outputs).sum()


def prior(model: nn.Module, loss: object, targets: Tensor = PICTURES) -> PriorRecord | None:
    record = gs.check(model, (PICTURES, targets), loss).trace.loss_record
    assert record is not None
    return record.prior


@pytest.mark.parametrize("listed", [False, True])
def test_the_price_is_that_of_a_nat_in_every_sample(listed: bool) -> None:
    found = prior(Coder(listed=listed), summed)
    assert found is not None
    assert found.price == pytest.approx(1, rel=1e-3)
    # Coins of even odds: a bit each, but for what the mean of 24 of them knows.
    assert found.gain == pytest.approx(48 * 0.693, rel=0.1)

    found = prior(Coder(), uneven)
    assert found is not None
    assert found.price == pytest.approx(24, rel=1e-3)
    assert found.gain == pytest.approx(0.693, rel=0.1)


def test_probabilities_and_values_of_any_range() -> None:
    def squared(outputs: Outputs, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs[0], targets) + divergences(outputs).mean()

    wide = 3 * torch.randn(24, 48)
    found = prior(Coder(), squared, wide)
    assert found is not None
    assert found.price == pytest.approx(1 / 5, rel=1e-3)
    assert found.gain == pytest.approx(float((wide - wide.mean(0)).square().mean()), rel=1e-3)

    found = prior(Coder(nn.Sigmoid()), lambda o, t: F.binary_cross_entropy(o[0], t) + divergences(o).mean())
    assert found is not None
    assert found.price == pytest.approx(1 / 5, rel=1e-3)


def test_logarithms_of_standard_deviations() -> None:
    def loss(outputs: Outputs, targets: Tensor) -> Tensor:
        image, mean, log_width = outputs
        divergence = 0.5 * (mean.square() + (2 * log_width).exp() - 1 - 2 * log_width)
        return F.mse_loss(image, targets) + divergence.sum(1).mean()

    found = prior(Coder(), loss)
    assert found is not None
    assert found.price == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, t: F.mse_loss(o[0], t),
        lambda o, t: F.mse_loss(o[0], t) + o[1].square().mean() + o[2].square().mean(),
        lambda o, t: F.mse_loss(o[0], t) + F.mse_loss(o[1], torch.ones_like(o[1])) + o[2].square().mean(),
        lambda o, t: F.mse_loss(o[0], t) + F.mse_loss(o[1], o[2]),
        lambda o, t: F.mse_loss(o[0] * o[1].mean(), t),
    ],
    ids=["none", "small codes", "another aim", "each other", "no sum"],
)
def test_other_outputs_are_no_code(loss: object) -> None:
    assert prior(Coder(), loss) is None


def test_the_rule_speaks_of_codes_that_cannot_be_paid_for() -> None:
    def codes(loss: object) -> list[str]:
        return [finding.code for finding in gs.check(Coder(), (PICTURES, PICTURES), loss, select="OPT009").findings]

    assert codes(uneven) == ["OPT009"]
    assert codes(summed) == []
    assert codes(lambda o, t: 100 * F.mse_loss(o[0], t) + divergences(o).sum(1).mean()) == []


def test_other_orders_of_the_outputs() -> None:
    class Reordered(Coder):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            image, mean, log_variance = super().forward(x)
            return image, torch.randn_like(mean), log_variance, mean

    found = prior(Reordered(), lambda o, t: summed((o[0], o[3], o[2]), t))
    assert found is not None
    assert found.price == pytest.approx(1, rel=1e-3)


def test_a_loss_that_keeps_what_it_said_or_counts() -> None:
    class Keeping(nn.Module):
        def forward(self, outputs: Outputs, targets: Tensor) -> Tensor:
            self.last = divergences(outputs).sum(1).mean()
            return F.mse_loss(outputs[0], targets) + self.last

    class Counting:
        steps = 0

        def __call__(self, outputs: Outputs, targets: Tensor) -> Tensor:
            self.steps += 1
            return uneven(outputs, targets)

    assert prior(Coder(), Keeping()) is None
    counting = Counting()
    assert prior(Coder(), counting) is not None
    assert counting.steps == 1
