"""Paired trials: a true effect, no effect, a run that diverges, a loss that changes its meaning."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gainstage as gs


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 16, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return [(x[i : i + 64], y[i : i + 64]) for i in range(0, 256, 64)]


def deep(init: str) -> gs.Subject:
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(16) for m in (nn.Linear(16, 16), nn.ReLU())], nn.Linear(16, 3))
    if init == "he":
        gs.initialize(model, batches()[0])
    return gs.Subject(model, batches(), nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), 1e-3))


REINITIALIZE = gs.Fix("INI002", "", "Re-draw.", "reinitialize", {"scheme": "auto", "seed": 0})


def test_a_true_effect_is_found() -> None:
    subject = deep("torch")
    told: list[tuple[int, int]] = []
    before = {key: value.clone() for key, value in subject.model.state_dict().items()}
    rng = torch.get_rng_state()
    trial = gs.verify(subject, REINITIALIZE, steps=60, on_progress=lambda *args: told.append(args))

    assert trial.improved
    assert 0 < trial.interval[0] < trial.effect < trial.interval[1]
    assert (len(trial.before), len(trial.after), len(trial.before[0])) == (3, 3, 60)
    assert told[-1] == (360, 360)
    assert trial.optimizer == "Adam, learning rate 0.001"
    assert all(torch.equal(before[key], value) for key, value in subject.model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


def test_a_fix_that_does_nothing_has_no_effect_at_all() -> None:
    subject = deep("he")
    trial = gs.verify(subject, gs.Fix("NRM001", "", "Nothing.", "to_train_mode", {"modules": ("",)}), steps=20)

    assert trial.before == trial.after
    assert (trial.effect, trial.interval, trial.improved) == (0, (0, 0), False)


def test_a_fix_that_hurts_is_not_called_an_improvement() -> None:
    subject = deep("he")
    trial = gs.verify(
        subject, gs.Fix("X", "", "Worse.", "reinitialize", {"scheme": "lecun_normal", "seed": 0}), steps=60
    )
    assert not trial.improved
    assert trial.effect < 0


def test_trials_repeat() -> None:
    assert gs.verify(deep("torch"), REINITIALIZE, steps=10) == gs.verify(deep("torch"), REINITIALIZE, steps=10)


def test_a_run_that_diverges_ends_and_is_said() -> None:
    subject = deep("he")
    subject = subject.replace(optimizer=torch.optim.SGD(subject.model.parameters(), lr=1e12))
    trial = gs.verify(subject, REINITIALIZE, steps=30)
    assert not math.isfinite(trial.before[0][-1])
    assert len(trial.before[0]) < 30
    assert "6 of 6 runs left the finite numbers" in trial.note
    assert not trial.improved


@pytest.mark.parametrize("as_module", [True, False])
def test_curves_are_comparable_where_the_fix_changes_what_the_loss_reads(as_module: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
            self.last = nn.Softmax(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.body(x)) if as_module else self.body(x).softmax(1)

    torch.manual_seed(0)
    model = Model()
    subject = gs.Subject(model, batches(), nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), 3e-3))
    report = gs.check(subject)
    trial = gs.verify(subject, report.fixes(), steps=60)

    assert [fix.remedy for fix in report.fixes()] == ["drop_output_activation"]
    # The same network before the first step: both sides must show the same number for it.
    assert [curve[0] for curve in trial.before] == pytest.approx([curve[0] for curve in trial.after], rel=1e-5)
    assert trial.improved
    assert "negative log-likelihood" in trial.note


def test_without_an_optimizer_adam_is_taken_and_said() -> None:
    subject = deep("torch").replace(optimizer=None)
    assert "none was given" in gs.verify(gs.Subject(subject.model, batches()), REINITIALIZE, steps=3).optimizer


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "steps must be 1 or more, got 0"), ({"seeds": 1}, "one pair has no interval")],
)
def test_what_makes_no_trial_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(gs.GainstageError, match=message):
        gs.verify(deep("he"), REINITIALIZE, **options)
    with pytest.raises(gs.GainstageError, match="at least one Fix"):
        gs.verify(deep("he"), ())
