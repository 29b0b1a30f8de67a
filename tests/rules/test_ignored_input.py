"""DAT007: inputs, all but a step of them and their order that no output depends on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import gainstage as gs

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(32) % 3
STEPS = torch.randn(32, 20, 8, generator=GENERATOR)
TOKENS = torch.randint(1, 40, (32, 60), generator=GENERATOR)
PADDED = torch.cat([TOKENS[:, :6], torch.zeros(32, 80, dtype=torch.long)], 1)


class Cell(nn.Module):
    """An LSTM over tokens or steps, read at one of its steps."""

    def __init__(self, at: int, tokens: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 8) if tokens else nn.Identity()
        self.cell, self.head, self.at = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 3), at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.words(x))[0][:, self.at])


class Attending(nn.Module):
    """A transformer over tokens, with or without positions; what it says is the mean, or the first token's."""

    def __init__(self, *, positions: bool, batch_first: bool = True, first: bool = False) -> None:
        super().__init__()
        self.words, self.first = nn.Embedding(40, 16), first
        self.places = nn.Parameter(torch.randn(60, 16)) if positions else None
        self.start = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=batch_first)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.words(x)
        if self.places is not None:
            hidden = hidden + self.places[: x.shape[1]]
        hidden = self.encoder(torch.cat([self.start.expand(len(x), 1, 16), hidden], 1))
        return self.head(hidden[:, 0] if self.first else hidden.mean(1))


def kinds(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor = LABELS) -> list[str]:
    return [finding.evidence["kind"] for finding in gs.check(model, (inputs, labels), select="DAT007").findings]


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        (Cell(-1), STEPS, []),
        (Cell(0), STEPS, ["first"]),
        (Cell(-1, tokens=True), TOKENS, []),  # it forgets the first of so many, and learns not to
        (Cell(-1, tokens=True), PADDED, ["all"]),
        (Cell(-1, tokens=True), PADDED.flip(1), []),
        (Attending(positions=True), TOKENS, []),
        (Attending(positions=False), TOKENS, ["order"]),
        (Attending(positions=False, first=True), TOKENS, ["order"]),
        (Attending(positions=True, first=True), TOKENS, []),
        (Attending(positions=False, first=True, batch_first=False), TOKENS, ["all"]),
    ],
)
def test_what_outputs_depend_on(model: nn.Module, inputs: torch.Tensor, expected: list[str]) -> None:
    assert kinds(model, inputs) == expected


def test_one_row_of_a_picture() -> None:
    class Top(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv1d(3, 8, 3), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x[:, :, 0]).relu().mean(2))

    assert kinds(Top(), torch.randn(32, 3, 16, 16)) == ["first"]


def test_maps_that_start_at_zero_are_not_judged() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(160, 16), nn.ReLU(), nn.Linear(16, 3))
    nn.init.zeros_(model[3].weight)
    assert kinds(model, STEPS) == []


def test_equal_samples_are_the_data_s() -> None:
    assert kinds(Cell(-1), STEPS[:1].expand_as(STEPS).contiguous()) == []


def test_bags_of_words_have_no_order_to_lose() -> None:
    model = nn.Sequential(nn.EmbeddingBag(40, 16), nn.Linear(16, 3))
    assert kinds(model, TOKENS) == []


def test_the_causes_of_a_blind_network_come_first() -> None:
    layers = [m for _ in range(12) for m in (nn.Linear(160, 160), nn.Sigmoid())]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(160, 3))
    findings = [f for f in gs.check(model, (STEPS, LABELS)).findings if f.severity != "info"]
    assert findings[0].code in ("INI002", "GRD001")
    assert all(f.consequence_of for f in findings if f.code == "DAT007")


def test_nothing_of_the_subject_changes() -> None:
    model, inputs = Attending(positions=False).train(), TOKENS.clone()
    before = copy.deepcopy(model.state_dict())
    gs.check(model, (inputs, LABELS))
    assert torch.equal(inputs, TOKENS)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Columns(nn.Module):
    """Attention over the columns of a table, each with a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 16) for size in (3, 9, 4, 12))
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = torch.stack([table(x[:, place]) for place, table in enumerate(self.tables)], 1)
        return self.head(self.encoder(tokens).mean(1))


def test_columns_of_a_table_are_not_turned_round() -> None:
    facts = torch.stack([torch.randint(size, (32,)) for size in (3, 9, 4, 12)], 1)
    report = gs.check(Columns(), (facts, LABELS))
    assert report.trace.mixing is not None
    assert (report.trace.mixing.change, report.trace.mixing.orderless) == (0.0, None)


def test_a_softmax_at_the_end_is_no_attention() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(40, 16), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.words(x).mean(1)).softmax(-1)

    assert kinds(Mean(), TOKENS) == []
