"""DAT008: sequences whose targets stand among the inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs

TOKENS = torch.randint(40, (16, 21))
SERIES = torch.randn(16, 21, 3)


class Recurrent(nn.Module):
    def __init__(self, bidirectional: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 16)
        self.cell = nn.GRU(16, 32, batch_first=batch_first, bidirectional=bidirectional)
        self.head = nn.Linear(64 if bidirectional else 32, 40)
        self.last = batch_first

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores = self.head(self.cell(self.words(tokens))[0])
        return scores.transpose(1, 2) if self.last else scores.permute(0, 2, 1)


class Attending(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(40, 16), nn.Parameter(torch.randn(20, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(16, 40)
        self.causal = causal

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        steps = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(steps) if self.causal else None
        features = self.body(self.words(tokens) + self.places[:steps], mask=mask)
        return self.head(features).transpose(1, 2)


class Translating(nn.Module):
    """Reads one sequence, and writes another of which it is given what came before."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 16)
        self.body = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
        self.head, self.causal = nn.Linear(16, 40), causal

    def forward(self, read: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(written.shape[1]) if self.causal else None
        return self.head(self.body(self.words(read), self.words(written), tgt_mask=mask)).transpose(1, 2)


class Forecasting(nn.Module):
    def __init__(self, padding: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 16, 3, padding=padding)
        self.second = nn.Conv1d(16, 3, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.first(series.transpose(1, 2)))[..., : series.shape[1]]
        return self.second(features).transpose(1, 2)


def kinds(model: nn.Module, *batch: torch.Tensor) -> list[object]:
    return [f.evidence["shift"] for f in gs.check(model, batch, select="DAT008").findings]


def test_targets_that_are_the_tokens_themselves() -> None:
    assert kinds(Recurrent(), TOKENS, TOKENS) == [0]
    assert kinds(Recurrent(), TOKENS[:, :-1], TOKENS[:, 1:]) == []


def test_sequences_that_stand_in_columns() -> None:
    columns = TOKENS.T.contiguous()
    model = Recurrent(batch_first=False)
    assert kinds(model, columns, columns) == [0]
    assert kinds(model, columns[:-1], columns[1:]) == []


@pytest.mark.parametrize("model", [Attending(causal=False), Recurrent(bidirectional=True)])
def test_next_tokens_that_are_seen(model: nn.Module) -> None:
    assert kinds(model, TOKENS[:, :-1], TOKENS[:, 1:]) == [1]
    # An encoder that gives back what it read sees all of it by design.
    assert kinds(model, TOKENS[:, :-1], TOKENS[:, :-1]) == []


def test_a_causal_mask_hides_them() -> None:
    assert kinds(Attending(causal=True), TOKENS[:, :-1], TOKENS[:, 1:]) == []


@pytest.mark.parametrize("causal", [True, False])
def test_a_decoder_beside_an_encoder(causal: bool) -> None:
    written = torch.randint(40, (16, 13))
    assert kinds(Translating(causal), TOKENS, written[:, :-1], written[:, 1:]) == ([] if causal else [1])


def test_places_that_the_loss_ignores_do_not_count() -> None:
    targets = TOKENS[:, 1:].clone()
    targets[:, -6:] = -100
    assert kinds(Attending(causal=False), TOKENS[:, :-1], targets) == [1]


@pytest.mark.parametrize(("padding", "shifts"), [(2, []), (1, [1])])
def test_a_series_that_convolutions_read_ahead(padding: int, shifts: list[int]) -> None:
    assert kinds(Forecasting(padding), SERIES[:, :-1], SERIES[:, 1:]) == shifts


def test_numbers_that_are_given_back_and_tokens_of_another_kind() -> None:
    assert kinds(Forecasting(1), SERIES, SERIES) == []
    assert kinds(Attending(causal=False), TOKENS[:, :-1], torch.randint(40, (16, 20))) == []


def test_what_was_looked_at_stays_as_it_was() -> None:
    model, tokens = Recurrent(), TOKENS.clone()
    assert kinds(model, tokens, tokens) == [0]
    assert torch.equal(tokens, TOKENS)
    assert model.training


def test_a_loss_or_a_model_that_shifts_the_tokens_itself() -> None:
    def shifting(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs[..., :-1], targets[:, 1:])

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Recurrent()

        def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.body(input_ids)
            return {"loss": shifting(logits, labels), "logits": logits}

    report = gs.check(Recurrent(), (TOKENS, TOKENS), shifting, select="DAT008")
    assert report.findings == ()
    assert gs.check(Recurrent(), (TOKENS, TOKENS), nn.CrossEntropyLoss(), select="DAT008").findings
    assert gs.check(Own(), {"input_ids": TOKENS, "labels": TOKENS}, select="DAT008").findings == ()


def test_maps_of_codes_are_no_sequences() -> None:
    class Pixels(nn.Module):
        """Sees what is above and to the left of a place."""

        def __init__(self) -> None:
            super().__init__()
            self.codes, self.head = nn.Embedding(8, 6), nn.Conv2d(6, 8, 1)
            self.above = nn.Conv2d(6, 6, (2, 3), padding=(0, 1))

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            rows = nn.functional.pad(self.codes(codes).movedim(-1, 1), (0, 0, 2, 0))
            return self.head(self.above(rows)[:, :, :-1])

    codes = torch.randint(8, (16, 6, 10))
    assert kinds(Pixels(), codes, codes) == []


def test_noise_of_the_models_own_is_no_leak() -> None:
    class Noisy(Recurrent):
        def __init__(self) -> None:
            super().__init__()
            self.noise = torch.Generator().manual_seed(0)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            scores = super().forward(tokens)
            return scores + 0.1 * torch.randn(scores.shape, generator=self.noise)

    assert kinds(Noisy(), TOKENS[:, :-1], TOKENS[:, 1:]) == []
