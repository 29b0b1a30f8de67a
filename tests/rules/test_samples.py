"""DAT005: samples that are mixed by mistake, and what may look like it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import gainstage as gs

LABELS = torch.arange(32) % 3
SEQUENCES = torch.randn(32, 10, 8, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(20, (32, 10), generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    """A body, what is taken of its output, and a head."""

    def __init__(self, body: nn.Module, features: int, take: str = "last") -> None:
        super().__init__()
        self.body, self.head, self.take = body, nn.Linear(features, 3), take

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.body(x)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if self.take == "scrambled":
            hidden = hidden.transpose(0, 1).reshape(len(x), -1)
        elif self.take == "flat":
            hidden = hidden.flatten(1)
        else:
            hidden = hidden[:, -1] if hidden.ndim == 3 else hidden.mean((2, 3))
        return self.head(hidden)


def attention(*, batch_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def convolutions(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU())


def spoken(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor = LABELS) -> list[str]:
    return [finding.code for finding in gs.check(model, (inputs, labels), select="DAT005").findings]


@pytest.mark.parametrize(
    "model",
    [
        Net(nn.LSTM(8, 16), 16), Net(nn.GRU(8, 16, bidirectional=True), 32), Net(attention(batch_first=False), 8),
        Net(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), 40, "scrambled"),
    ],
)  # fmt: skip
def test_dimension_0_taken_for_another(model: nn.Module) -> None:
    assert spoken(model, SEQUENCES) == ["DAT005"]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Net(nn.LSTM(8, 16, batch_first=True), 16), SEQUENCES),
        (Net(attention(batch_first=True), 8), SEQUENCES),
        (Net(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), 40, "flat"), SEQUENCES),
        (Net(nn.Sequential(nn.Embedding(20, 8), nn.LSTM(8, 16, batch_first=True)), 16), TOKENS),
        (Net(convolutions(nn.BatchNorm2d(8)), 8), IMAGES),
        (Net(convolutions(nn.BatchNorm2d(8, track_running_stats=False)), 8), IMAGES),
        (Net(convolutions(nn.GroupNorm(2, 8)), 8), IMAGES),
        (Net(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5)), 8), IMAGES),
    ],
)
def test_samples_that_are_kept_apart(model: nn.Module, inputs: torch.Tensor) -> None:
    assert spoken(model, inputs) == []


def test_steps_before_samples_are_no_fault() -> None:
    class StepsFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTM(8, 16), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.cell(x)[0][-1])

    assert spoken(StepsFirst(), SEQUENCES.transpose(0, 1)) == []
    # Where there are as many steps as samples, nothing tells them apart but the order that is agreed on.
    report = gs.check(nn.Sequential(nn.Linear(8, 3)), (torch.randn(32, 8), LABELS), select="DAT005")
    assert ["nodes of one graph" in entry.reason for entry in report.not_assessed] == [True]


def test_a_model_for_one_size_of_batch_is_not_assessed() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(80, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.reshape(32, 80))

    report = gs.check(Fixed(), (SEQUENCES, LABELS), select="DAT005")
    assert [entry.code for entry in report.not_assessed] == ["DAT005"]


def test_the_model_and_the_batch_stay_as_they_are() -> None:
    model, inputs = Net(convolutions(nn.BatchNorm2d(8)), 8), IMAGES.clone()
    before = copy.deepcopy(model.state_dict())
    gs.check(model, (inputs, LABELS), select="DAT005")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(inputs, IMAGES)


def test_outputs_that_compare_the_samples() -> None:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = Net(convolutions(nn.GroupNorm(2, 8)), 8), Net(convolutions(nn.GroupNorm(2, 8)), 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) @ self.other(x.flip(-1)).T

    assert spoken(Towers(), IMAGES, torch.arange(32)) == []
    assert spoken(Towers(), IMAGES[:6], torch.arange(6)) == []


class Pooled(nn.Module):
    """Weights of a mean over the steps, or by mistake over the samples."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scores, self.values, self.head, self.dim = nn.Linear(8, 1), nn.Linear(8, 16), nn.Linear(16, 2), dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.scores(x).softmax(self.dim)
        return self.head((weights * self.values(x)).sum(1))


@pytest.mark.parametrize(("dim", "expected"), [(0, ["DAT005"]), (1, [])])
def test_a_row_of_targets_for_each_sequence_tells_where_samples_stand(dim: int, expected: list[str]) -> None:
    torch.manual_seed(0)
    report = gs.check(Pooled(dim), (torch.randn(32, 10, 8), torch.randn(32, 2)), nn.MSELoss(), select="DAT005")
    assert [finding.code for finding in report.findings] == expected


class FromFirstBatch(nn.Module):
    """A norm whose scale and shift are set from the first batch that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.scale = nn.Parameter(torch.zeros(3, 1, 1)), nn.Parameter(torch.ones(3, 1, 1))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.ready:
            with torch.no_grad():
                self.shift.copy_(x.mean((0, 2, 3))[:, None, None])
                self.scale.copy_(x.std((0, 2, 3))[:, None, None])
                self.ready.fill_(True)
        return (x - self.shift) / self.scale


def test_what_a_first_pass_sets_from_its_batch_is_no_mixing() -> None:
    model = nn.Sequential(FromFirstBatch(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    report = gs.check(model, (torch.randn(32, 3, 8, 8), LABELS[:32]), select="DAT005")
    assert not report.findings
    assert [entry.reason for entry in report.not_assessed if "first pass sets" in entry.reason]
    assert not model[0].ready
