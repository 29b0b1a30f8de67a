"""ACT005: shares that are dropped, and modules that do not drop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs

BATCH = torch.randn(32, 16), torch.randint(3, (32,))


def found(*dropouts: nn.Module, training: bool = True) -> list[str]:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), *dropouts, nn.Linear(32, 3))
    for module in dropouts:
        module.train(training)
    return [f.module for f in gs.check(model, BATCH, select="ACT005").findings]


@pytest.mark.parametrize(("share", "expected"), [(0.5, []), (0.8, []), (0.9, ["2"]), (1.0, ["2"])])
@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_the_share_that_is_dropped(kind: type[nn.Dropout], share: float, expected: list[str]) -> None:
    assert found(kind(share)) == expected


def test_the_largest_is_named_and_what_is_off_is_not() -> None:
    assert found(nn.Dropout(0.9), nn.Dropout(0.95)) == ["3"]
    assert found(nn.Dropout(0.9), training=False) == []


def test_a_module_that_does_not_run() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.out = nn.Dropout(0.9), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(x)

    assert gs.check(Idle(), BATCH, select="ACT005").findings == ()


class Scores(nn.Module):
    """Dropout as a function, before the last layer or behind it."""

    def __init__(self, *, behind: bool) -> None:
        super().__init__()
        self.inner, self.outer, self.behind = nn.Linear(8, 16), nn.Linear(16, 3), behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.inner(x).relu()
        if self.behind:
            return nn.functional.log_softmax(nn.functional.dropout(self.outer(hidden), 0.5), 1)
        return nn.functional.log_softmax(self.outer(nn.functional.dropout(hidden, 0.5)), 1)


@pytest.mark.parametrize(("behind", "expected"), [(True, ["ACT005"]), (False, [])])
def test_dropout_on_what_the_loss_reads(behind: bool, expected: list[str]) -> None:
    batch = torch.randn(32, 8), torch.arange(32) % 3
    findings = gs.check(Scores(behind=behind), batch, nn.NLLLoss(), select="ACT005").findings
    assert [f.code for f in findings] == expected


def test_dropout_behind_a_regression() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Dropout(0.2))
    findings = gs.check(model, (torch.randn(32, 8), torch.randn(32, 1)), nn.MSELoss(), select="ACT005").findings
    assert [f.evidence.get("kind") for f in findings] == ["outputs"]


def test_a_comparison_of_samples_may_read_what_was_dropped_from() -> None:
    def contrast(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        normed = nn.functional.normalize(outputs)
        return nn.functional.cross_entropy(normed @ normed.T, torch.arange(len(labels)))

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Dropout(0.1))
    batch = torch.randn(32, 8), torch.arange(32) % 3
    assert gs.check(model, batch, contrast, select="ACT005").findings == ()


class Functional(nn.Module):
    """Dropout as a function, which is told of the mode or is not."""

    def __init__(self, told: bool) -> None:
        super().__init__()
        self.first, self.last, self.told = nn.Linear(16, 32), nn.Linear(32, 3), told

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        training = self.training if self.told else True
        return self.last(nn.functional.dropout(self.first(x).relu(), 0.5, training=training))


class Sampling(nn.Module):
    """Draws units in both modes, and drops some in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(16, 32), nn.Dropout(0.5), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(torch.bernoulli(self.first(x).sigmoid())))


@pytest.mark.parametrize(
    ("model", "expected"), [(Functional(told=False), ["NRM016"]), (Functional(told=True), []), (Sampling(), [])]
)
def test_dropout_that_goes_on_in_eval_mode(model: nn.Module, expected: list[str]) -> None:
    report = gs.check(model, BATCH, select="NRM016")
    assert [finding.code for finding in report.findings] == expected
    assert report.trace.dropped_in_eval == len(expected)
    assert all(module.training for module in model.modules())


def test_dropout_for_one_size_of_batch_fails_no_check() -> None:
    class Fixed(Functional):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.view(32, 16))

    assert gs.check(Fixed(told=False), BATCH, select="NRM016").trace.dropped_in_eval == 0
