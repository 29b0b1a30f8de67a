"""What fails in one part of a check leaves what the others found."""

from __future__ import annotations

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
