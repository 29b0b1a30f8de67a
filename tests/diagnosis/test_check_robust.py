"""What fails in one part of a check leaves what the others found."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis import check
from gainstage.rules import RULES

X, LABELS = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3


def constant() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    return model


def test_a_trial_that_cannot_be_made_is_told_and_the_rest_stands() -> None:
    model = constant()
    model.lock = threading.Lock()  # what no deepcopy takes
    report = gs.check(model, (X, LABELS), optimizer=torch.optim.SGD(model.parameters(), lr=0.1), steps=200)
    assert report.findings[0].code == "INI001"
    reasons = {entry.code: entry.reason for entry in report.not_assessed}
    assert all("the trial could not be made" in reasons[code] for code in ("OPT003", "OPT004", "OPT005"))


def test_a_rule_with_a_defect_does_not_take_the_others_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_trace: gs.Trace) -> object:
        raise ValueError("no such thing")

    rules = tuple(replace(rule, check=broken) if rule.code == "NRM004" else rule for rule in RULES)
    monkeypatch.setattr(check, "selected", lambda *_: rules)
    report = gs.check(constant(), (X, LABELS))
    assert report.findings[0].code == "INI001"
    (told,) = [entry.reason for entry in report.not_assessed if entry.code == "NRM004"]
    assert "a defect of the rule" in told
    assert "ValueError: no such thing" in told


def test_a_loader_is_read_once_without_an_optimizer() -> None:
    class Loader:
        passes = 0

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            self.passes += 1
            yield X, LABELS

    loader = Loader()
    gs.check(constant(), loader)
    assert loader.passes <= 2  # as_subject looks at what kind of series it is


def test_lazy_layers_stay_unmade() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    gs.check(model, (torch.randn(8, 3, 8, 8), torch.arange(8) % 3))
    assert isinstance(model[0], nn.LazyConv2d)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_labels_of_bytes() -> None:
    report = gs.check(constant(), (X, LABELS.to(torch.uint8)), nn.CrossEntropyLoss())
    assert report.findings[0].code == "INI001"


def test_copies_of_complex_weights() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(16, 16, dtype=torch.cfloat)
            self.second, self.last = copy.deepcopy(self.first), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.second(self.first(x.cfloat())).abs())

    assert "INI007" in {finding.code for finding in gs.check(Spectral(), (X, LABELS)).findings}


def test_losses_that_a_model_adds_up_itself() -> None:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(16, 8), nn.Linear(8, 16)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            hidden = torch.relu(self.encode(x))
            said = self.decode(hidden)
            return {"loss": ((said - x) ** 2).mean() + hidden.abs().sum(1).mean(), "said": said}

    report = gs.check(Autoencoder(), X)
    assert [(f.code, f.message) for f in report.findings if f.severity != "info"] == []
    assert [entry for entry in report.not_assessed if check.DEFECT in entry.reason] == []


def test_what_the_loss_leaves_out_of_the_batch_is_no_fault() -> None:
    targets = torch.randn(64, 3)
    targets[::3, 0] = torch.nan

    def masked(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        known = ~targets.isnan()
        return ((outputs - targets)[known] ** 2).mean()

    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    assert [f.code for f in gs.check(model, (X, targets), masked).findings if f.severity != "info"] == []
