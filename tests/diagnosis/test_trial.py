"""A trial that fails is made again with one thing changed; one that does not is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis.trial import short_trial
from zoo.fingerprint import unchanged

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(256, 16, generator=GENERATOR)
LABELS = (INPUTS @ torch.randn(16, 4, generator=GENERATOR)).argmax(1)
BATCHES = [(INPUTS[start : start + 32], LABELS[start : start + 32]) for start in range(0, 256, 32)]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))


def codes(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 200) -> list[str]:
    return [f.code for f in gs.check(model, BATCHES, optimizer=optimizer, steps=steps).findings if f.severity != "info"]


def test_a_trial_that_learns_is_made_once() -> None:
    model = network()
    trial = short_trial(gs.Subject(model, BATCHES, optimizer=torch.optim.Adam(model.parameters(), lr=1e-2)), 200)

    assert trial.variants == ()
    assert codes(model, torch.optim.Adam(model.parameters(), lr=1e-2)) == []


def test_a_rate_that_is_too_high_without_a_wild_step() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0, momentum=0.95)
    with unchanged(model, BATCHES[0], optimizer):
        trial = short_trial(gs.Subject(model, BATCHES, optimizer=optimizer), 200)

    best = min(trial.variants, key=lambda variant: variant.end)
    assert best.change == "lr"
    assert best.rate < 5
    assert best.end < 0.5 * trial.end
    assert codes(model, optimizer)[0] == "OPT001"


def test_a_rate_that_is_suspected_is_lowered_though_the_loss_is_halved() -> None:
    model = network()
    batches = [(inputs, labels.roll(1) if number % 2 else labels) for number, (inputs, labels) in enumerate(BATCHES)]
    subject = gs.Subject(model, batches, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    plain = short_trial(subject, 200)
    again = short_trial(subject, 200, suspected=("lr",))

    assert plain.end < 0.5 * plain.losses[0]
    assert plain.variants == ()
    assert [(variant.change, variant.factor) for variant in again.variants] == [("lr", 0.1)]
    assert again.losses == plain.losses


def test_a_rate_that_is_too_low() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trial = short_trial(gs.Subject(model, BATCHES, optimizer=optimizer), 200)

    assert [variant.factor for variant in trial.variants] == [0.1, 0.01, 10.0, 100.0]
    assert trial.variants[-1].end < 0.4 * trial.end
    assert codes(model, torch.optim.SGD(model.parameters(), lr=1e-4)) == ["OPT002", "OPT003"]


def test_decay_that_keeps_the_weights_at_zero() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=40.0)
    trial = short_trial(gs.Subject(model, BATCHES, optimizer=optimizer), 200)

    assert [(v.change, v.factor) for v in trial.variants][-1] == ("weight_decay", 0.0)
    assert trial.variants[-1].end < 0.5 * trial.end
    assert optimizer.param_groups[0]["weight_decay"] == 40.0
    assert "OPT007" in codes(model, optimizer)


@pytest.mark.parametrize("steps", [20, 99])
def test_short_ones_tell_nothing(steps: int) -> None:
    model = network()
    trial = short_trial(gs.Subject(model, BATCHES, optimizer=torch.optim.SGD(model.parameters(), lr=1e-6)), steps)

    assert trial.variants == ()


def test_where_a_schedule_sets_the_rate_no_other_is_tried() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    torch.optim.lr_scheduler.LinearLR(optimizer)

    assert short_trial(gs.Subject(model, BATCHES, optimizer=optimizer), 100).variants == ()


def test_a_run_that_breaks_down_is_tried_at_lower_rates_alone() -> None:
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
    batches = [(inputs * 30, 100 * inputs.sum(1, keepdim=True)) for inputs, _ in BATCHES]
    trial = short_trial(gs.Subject(model, batches, optimizer=torch.optim.SGD(model.parameters(), lr=1.0)), 100)

    assert math.isinf(trial.end)
    assert [variant.factor for variant in trial.variants] == [0.1, 0.01]
