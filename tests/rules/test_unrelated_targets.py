"""DAT009 and DAT010: targets that belong to other inputs, and what a trial's exchange of targets shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gainstage as gs
from gainstage.trace.training_records import ExchangeRecord

PLACES = torch.linspace(0, 6, 32)
STEPS = 200


def waves(labels: Tensor) -> Tensor:
    """A row for each label: a sine of as many turns, at a phase of its own."""
    clean = torch.sin((labels[:, None] + 1) * PLACES + torch.rand(len(labels), 1))
    return clean + 0.3 * torch.randn(len(labels), 32)


def drawn(count: int, shuffled: bool, inputs: str = "waves") -> tuple[Tensor, Tensor]:
    """Inputs and labels; shuffled inputs have another's label."""
    torch.manual_seed(0)
    labels = torch.randint(4, (count,))
    rows = waves(labels) if inputs == "waves" else torch.randn(count, 32)
    return rows[torch.randperm(count)] if shuffled else rows, labels


def asked(
    inputs: Tensor, targets: Tensor, *, outputs: int = 4, loss: nn.Module | None = None, size: int = 32,
    width: int = 256, rate: float = 1e-2, seed: int = 0, select: str = "DAT009",
) -> gs.Report:  # fmt: skip
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, outputs))
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    return gs.check(model, batches, loss, optimizer=optimizer, steps=STEPS, select=select)


def exchange_of(report: gs.Report) -> ExchangeRecord:
    assert report.trace.trial is not None
    assert report.trace.trial.exchange is not None
    return report.trace.trial.exchange


@pytest.mark.parametrize(("shuffled", "expected"), [(True, ["DAT009"]), (False, [])])
def test_labels_that_belong_to_other_inputs(shuffled: bool, expected: list[str]) -> None:
    report = asked(*drawn(512, shuffled))
    assert [finding.code for finding in report.findings] == expected
    assert not report.not_assessed


@pytest.mark.parametrize(("shuffled", "expected"), [(True, ["DAT009"]), (False, [])])
def test_numbers_that_belong_to_other_inputs(shuffled: bool, expected: list[str]) -> None:
    inputs, labels = drawn(512, shuffled)
    report = asked(inputs, labels[:, None] - 1.5, outputs=1, loss=nn.MSELoss())
    assert [finding.code for finding in report.findings] == expected


def test_the_figures_are_the_losses_of_exchanged_targets() -> None:
    found, shuffled = exchange_of(asked(*drawn(512, False))), exchange_of(asked(*drawn(512, True)))
    assert found.unseen > 0.5 * found.trained > 0
    assert abs(shuffled.unseen) < 4 * shuffled.noise
    assert shuffled.trained > 10 * shuffled.noise


def test_random_numbers_that_stand_for_data_are_not_judged() -> None:
    report = asked(*drawn(512, shuffled=False, inputs="noise"))
    assert not exchange_of(report).lawful
    assert [entry.reason for entry in report.not_assessed if "drawn at random" in entry.reason]
    assert not report.findings


@pytest.mark.parametrize(("shuffled", "expected"), [(True, ["DAT010"]), (False, [])])
def test_labels_that_are_not_even_learned_by_heart(shuffled: bool, expected: list[str]) -> None:
    report = asked(*drawn(512, shuffled), width=4, rate=1e-3, select="DAT010")
    assert [finding.code for finding in report.findings] == expected
    # What shows nothing is looked at for longer, and what shows something is not.
    assert exchange_of(report).steps == (3 * STEPS if shuffled else STEPS)
    assert report.trace.trial is not None
    assert len(report.trace.trial.losses) == STEPS


def test_what_is_learned_late_is_waited_for() -> None:
    inputs, labels = drawn(512, shuffled=False)
    report = asked(inputs, labels, width=4, rate=3e-5, seed=2, select="DAT010")
    found = exchange_of(report)
    assert found.steps == 3 * STEPS
    assert found.unseen > 2 * found.noise
    assert not report.findings


def test_whatever_else_is_wrong_comes_first() -> None:
    inputs, labels = drawn(512, shuffled=True)
    report = asked(inputs * 1e-6, labels, width=4, rate=1e-3, select="DAT001,DAT010")
    assert [(finding.code, finding.consequence_of) for finding in report.findings] == [
        ("DAT001", None), ("DAT010", "DAT001")
    ]  # fmt: skip


def test_without_batches_held_out_it_is_not_assessed() -> None:
    report = asked(*drawn(128, shuffled=True))
    assert [entry.code for entry in report.not_assessed] == ["DAT009"]
    assert report.trace.trial is not None
    assert report.trace.trial.exchange is None


def test_a_loss_that_knows_one_order_alone_is_left_alone() -> None:
    inputs, labels = drawn(512, shuffled=True)

    class InOrder(nn.Module):
        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            if bool((targets.diff() < 0).any()):
                raise ValueError("targets must be sorted")
            return nn.functional.cross_entropy(outputs, targets)

    in_order = torch.cat([part.sort().values for part in labels.split(32)])
    report = asked(inputs, in_order, loss=InOrder())
    assert [entry.code for entry in report.not_assessed] == ["DAT009"]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(50, 32), nn.Linear(32, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.words(tokens))


@pytest.mark.parametrize("frequent", [True, False])
def test_tokens_are_lawful_if_some_are_more_frequent(frequent: bool) -> None:
    torch.manual_seed(0)
    weights = 1 / torch.arange(1, 51) if frequent else torch.ones(50)
    tokens = torch.multinomial(weights, 320 * 12, replacement=True).view(320, 12)
    model = Tokens()
    batches = list(zip(tokens.split(32), torch.randint(2, (320,)).split(32), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    report = gs.check(model, batches, optimizer=optimizer, steps=10, select="DAT009")
    assert exchange_of(report).lawful is frequent
