"""INI006: a first loss far above that of a guess, and losses that only look like it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

INPUTS, LABELS = torch.randn(64, 16), torch.randint(3, (64,))
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def network(outputs: int, scale: float) -> nn.Sequential:
    """Outputs of about this rms."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, outputs))
    nn.init.kaiming_normal_(model[0].weight)
    nn.init.normal_(model[2].weight, std=scale / 8 / math.sqrt(2))
    return model


def values(model: nn.Module, batch: object, loss: Loss | None = None) -> list[float]:
    return [f.value or 0.0 for f in gs.check(model, batch, loss, select="INI006").findings]


@pytest.mark.parametrize(
    "loss", [None, nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(torch.tensor([1.0, 50.0, 900.0])),
             nn.CrossEntropyLoss(label_smoothing=0.1)],
)  # fmt: skip
def test_cross_entropy_is_judged_by_itself_whatever_weights_and_reduction_are(loss: Loss | None) -> None:
    assert values(network(3, 1.0), (INPUTS, LABELS), loss) == []
    assert values(network(3, 3.0), (INPUTS, LABELS), loss) == []
    [ratio] = values(network(3, 100.0), (INPUTS, LABELS), loss)
    outputs = network(3, 100.0)(INPUTS).detach()
    assert ratio == pytest.approx(float(F.cross_entropy(outputs, LABELS)) / math.log(3), rel=1e-4)


@pytest.mark.parametrize("squash", [nn.LogSoftmax(1), nn.Identity()])
def test_a_readout_that_is_squashed_in_the_model(squash: nn.Module) -> None:
    loss = nn.NLLLoss() if isinstance(squash, nn.LogSoftmax) else nn.CrossEntropyLoss()
    assert len(values(nn.Sequential(network(3, 100.0), squash), (INPUTS, LABELS), loss)) == 1


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor(30.0))])
def test_probabilities(loss: Loss) -> None:
    targets = (torch.rand(64, 1) < 0.5).float()
    assert values(network(1, 1.0), (INPUTS, targets), loss) == []
    assert len(values(network(1, 100.0), (INPUTS, targets), loss)) == 1


def test_a_temperature_and_a_margin_are_meant() -> None:
    def cold(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs / 0.01, labels)

    def margin(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(64 * (outputs - 0.5 * F.one_hot(labels, 3)), labels)

    for loss in (cold, margin):
        assert values(network(3, 1.0), (INPUTS, LABELS), loss) == []


def test_labels_that_the_loss_ignores_do_not_count() -> None:
    labels = LABELS.clone()
    labels[::2] = -100
    assert values(network(3, 1.0), (INPUTS, labels), nn.CrossEntropyLoss()) == []
    assert len(values(network(3, 100.0), (INPUTS, labels), nn.CrossEntropyLoss())) == 1


def test_pictures_and_tokens() -> None:
    batch = torch.randn(2, 3, 8, 8), torch.randint(4, (2, 8, 8))
    model = nn.Conv2d(3, 4, 1)
    assert values(model, batch) == []
    nn.init.normal_(model.weight, std=100.0)
    assert len(values(model, batch)) == 1


@pytest.mark.parametrize("loss", [None, nn.MSELoss(), nn.MSELoss(reduction="sum"), nn.L1Loss(), nn.HuberLoss()])
@pytest.mark.parametrize(
    ("scale", "targets", "expected"),
    [
        (1.0, 1.0, 0), (3.0, 1.0, 0), (30.0, 1.0, 1),
        (30.0, 20.0, 0),  # targets of that size
        (1.0, 0.01, 0),  # small targets are DAT003's
        (30.0, 0.0, 0),
    ],
)  # fmt: skip
def test_outputs_far_above_the_targets(scale: float, targets: float, expected: int, loss: Loss | None) -> None:
    batch = INPUTS, torch.randn(64, 1) * targets
    assert len(values(network(1, scale), batch, loss)) == expected


def test_a_trained_network_on_its_data() -> None:
    model = network(3, 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(30 * model(INPUTS), LABELS).backward()
        optimizer.step()
    with torch.no_grad():
        model[2].weight *= 30
        model[2].bias *= 30
    assert values(model, (INPUTS, LABELS)) == []


def test_inputs_that_are_not_scaled_explain_it() -> None:
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
    found = {f.code: f for f in gs.check(model, (INPUTS * 3000, LABELS)).findings}
    assert found["INI006"].consequence_of == "DAT001"


def test_not_assessed_without_targets_or_a_loss_that_it_knows() -> None:
    for batch, loss in ((INPUTS, None), ((INPUTS, torch.randn(64, 3)), lambda o, t: (o * t).sigmoid().mean())):
        assert [n.code for n in gs.check(network(3, 1.0), batch, loss, select="INI006").not_assessed] == ["INI006"]


class Tied(nn.Module):
    """Reads words out by the embedding that it looks them up in."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.body, self.norm = nn.Embedding(100, 32), nn.Linear(32, 32), nn.LayerNorm(32)
        nn.init.normal_(self.words.weight, std=scale)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(self.norm(self.body(self.words(tokens)).relu()), self.words.weight).transpose(1, 2)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 1), (0.02, 0), (32**-0.5, 0)])
def test_a_readout_that_is_the_embedding(scale: float, expected: int) -> None:
    tokens = torch.randint(100, (32, 9), generator=torch.Generator().manual_seed(0))
    found = gs.check(Tied(scale), (tokens[:, :-1], tokens[:, 1:]), select="INI006").findings
    assert len(found) == expected
    if expected:
        assert 2 < (found[0].value or 0.0) < 10
        assert found[0].evidence["kind"] == "table"
        assert found[0].fix is None


class Products(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.row, self.column = nn.Embedding(50, 16), nn.Embedding(40, 16)
        self.mean = nn.Parameter(torch.tensor(3.5))
        for table in (self.row, self.column):
            nn.init.normal_(table.weight, std=scale)

    def forward(self, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return (self.row(row) * self.column(column)).sum(1) + self.mean


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 1), (0.6, 0), (0.1, 0)])
def test_ratings_that_are_products_of_embeddings(scale: float, expected: int) -> None:
    torch.manual_seed(0)
    row, column, ratings = torch.randint(50, (256,)), torch.randint(40, (256,)), torch.randint(1, 6, (256,)).float()
    found = gs.check(Products(scale), ((row, column), ratings), nn.MSELoss(), select="INI006").findings
    assert len(found) == expected
    if expected:  # the products of 16 pairs of unit variance have a standard deviation of 4
        assert found[0].evidence["outputs"] == pytest.approx(4, rel=0.15)
