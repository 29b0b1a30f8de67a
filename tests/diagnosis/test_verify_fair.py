"""What makes a trial fair: the same batches and numbers, one quantity on both sides, nothing that reaches back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gainstage as gs
from gainstage.errors import SubjectError

NOTHING = gs.Fix("NRM001", "", "Nothing.", "to_train_mode", {"modules": ("",)})
REINITIALIZE = gs.Fix("INI002", "", "Re-draw.", "reinitialize", {"scheme": "auto", "seed": 0})


def data(count: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 16, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def net(*last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3), *last)


def curves_agree(subject: gs.Subject, steps: int = 12) -> bool:
    trial = gs.verify(subject, NOTHING, steps=steps, seeds=2)
    return trial.before == trial.after and trial.interval == (0, 0)


def test_a_loader_that_shuffles_is_read_once() -> None:
    loader = DataLoader(TensorDataset(*data()), batch_size=2, shuffle=True)  # more than 64 batches
    assert curves_agree(gs.Subject(net(), loader), steps=80)


def test_a_one_shot_iterator_can_be_verified() -> None:
    x, y = data()
    assert curves_agree(gs.Subject(net(), ((x[i : i + 64], y[i : i + 64]) for i in range(0, 256, 64))))


class Noisy(nn.Module):
    """Draws from every generator there is, and writes to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.dropout = net(), nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(0.5)
        return self.net(self.dropout(x)) * (1 + 0.1 * random.random() + 0.1 * np.random.rand())


def test_dropout_and_other_generators_draw_alike_and_the_batch_is_not_written_to() -> None:
    x, y = data(64)
    kept = x.clone()
    subject = gs.Subject(Noisy(), (x, y))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert curves_agree(subject)
    assert torch.equal(kept, x)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_a_loss_that_closes_over_the_model_leaves_no_gradients() -> None:
    model = net()
    model(data()[0]).sum().backward()
    gradients = {name: (p.grad, p.grad.clone()) for name, p in model.named_parameters()}

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, targets) + 1e-3 * model[0].weight.square().sum()

    gs.verify(gs.Subject(model, data(), loss), NOTHING, steps=3, seeds=2)
    for name, parameter in model.named_parameters():
        assert parameter.grad is gradients[name][0]
        assert torch.equal(parameter.grad, gradients[name][1])


def test_everything_stays_when_it_is_interrupted() -> None:
    subject = gs.Subject(net(), data(), optimizer=None)
    state, rng = {k: v.clone() for k, v in subject.model.state_dict().items()}, torch.get_rng_state()

    def interrupt(done: int, total: int) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gs.verify(subject, REINITIALIZE, steps=5, on_progress=interrupt)
    assert all(torch.equal(state[key], value) for key, value in subject.model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


def test_a_mode_is_kept() -> None:
    subject = gs.Subject(nn.Sequential(net(), nn.Dropout(0.5)).eval(), data())
    trial = gs.verify(subject, NOTHING, steps=5, seeds=2)
    assert trial.before[0] != trial.after[0]  # the fix turns dropout on, the run without it has none
    assert not subject.model.training


SOFTMAX = gs.Fix("ACT004", "3", "Drop it.", "drop_output_activation", {"module": "3", "op": "softmax"})
SIGMOID = gs.Fix("ACT004", "3", "Drop it.", "drop_output_activation", {"module": "3", "op": "sigmoid"})
RELU = gs.Fix("ACT004", "3", "Drop it.", "drop_output_activation", {"module": "3", "op": "relu"})
BINARY = F.one_hot(data()[1], 3).float()


@pytest.mark.parametrize(
    ("last", "fix", "targets", "loss"),
    [
        (nn.Softmax(1), SOFTMAX, data()[1], nn.CrossEntropyLoss()),
        (nn.Softmax(1), SOFTMAX, data()[1], nn.CrossEntropyLoss(label_smoothing=0.1)),
        (nn.Softmax(1), SOFTMAX, data()[1], None),
        (nn.Sigmoid(), SIGMOID, BINARY, nn.BCEWithLogitsLoss()),
        (nn.Sigmoid(), SIGMOID, data()[1], nn.CrossEntropyLoss()),
    ],
)
def test_both_curves_begin_at_the_same_number(last: nn.Module, fix: gs.Fix, targets: Any, loss: Any) -> None:
    trial = gs.verify(gs.Subject(net(last), (data()[0], targets), loss), fix, steps=5, seeds=2)
    assert [curve[0] for curve in trial.before] == pytest.approx([curve[0] for curve in trial.after], rel=1e-5)
    assert trial.note == "Both curves show the negative log-likelihood of the predicted probabilities."


def test_the_unfixed_run_trains_on_its_own_loss() -> None:
    subject = gs.Subject(net(nn.Softmax(1)), data(), nn.CrossEntropyLoss())
    shown = gs.verify(subject, SOFTMAX, steps=30, seeds=2)
    own = gs.verify(subject, NOTHING, steps=30, seeds=2)
    # Cross-entropy of a softmax cannot fall below ln(1 + 2/e); -log p of the same run can be anything.
    assert min(own.before[0]) > 0.55
    assert shown.before[0] != own.before[0]
    assert own.before[0][0] > 1


def test_a_rectified_output_compares_on_the_loss_as_it_is() -> None:
    trial = gs.verify(gs.Subject(net(nn.ReLU()), data(), nn.CrossEntropyLoss()), RELU, steps=5, seeds=2)
    own = gs.verify(gs.Subject(net(nn.ReLU()), data(), nn.CrossEntropyLoss()), NOTHING, steps=5, seeds=2)
    assert trial.before == own.before


def test_a_regression_compares_on_the_loss_as_it_is() -> None:
    subject = gs.Subject(net(nn.Sigmoid()), (data()[0], BINARY * 10), nn.MSELoss())
    trial = gs.verify(subject, SIGMOID, steps=40, seeds=2)
    assert trial.note == ""
    assert trial.before == gs.verify(subject, NOTHING, steps=40, seeds=2).before


def test_where_the_loss_is_hidden_no_improvement_is_claimed() -> None:
    model = net(nn.Softmax(1))
    subject = gs.Subject(model, data(), forward=lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    trial = gs.verify(subject, SOFTMAX, steps=40)
    assert not trial.improved
    assert "not in one unit" in trial.note


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gs.Subject(net(), data()[0]), "must hold targets, got inputs alone"),
        (lambda: gs.Subject(net().requires_grad_(False), data()), "must have trainable parameters"),
        (lambda: gs.Subject(net(), (data()[0][:, :8], data()[1])), r"must be trainable, got RuntimeError.*\(step 0\)"),
        (lambda: gs.Subject(net(), data(), optimizer=torch.optim.LBFGS(nn.Linear(2, 2).parameters())), "got LBFGS"),
        (lambda: gs.Subject(net(), []), "at least one batch, got none"),
    ],
)
def test_a_subject_that_cannot_be_trained_is_refused_in_one_line(make: Any, message: str) -> None:
    subject = make()
    with pytest.raises(SubjectError, match=message) as caught:
        gs.verify(subject, NOTHING, steps=2, seeds=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear(2, 2), NOTHING), "subject must be a Subject, got Linear"),
        ((gs.Subject(net(), data()), "INI002"), "nothing else, got str"),
        ((gs.Subject(net(), data()), [NOTHING, None]), "nothing else, got NoneType"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(gs.GainstageError, match=message):
        gs.verify(*arguments)
    with pytest.raises(gs.GainstageError, match=r"steps must be 1 or more, got 2\.5"):
        gs.verify(gs.Subject(net(), data()), NOTHING, steps=2.5)


def test_the_largest_loss_of_the_pair_stands_for_a_run_that_broke_down() -> None:
    model = net()
    subject = gs.Subject(model, data(), optimizer=torch.optim.SGD(model.parameters(), lr=1e-2))
    broken = subject.replace(model=net())
    with torch.no_grad():
        broken.model[0].weight[0, 0] = float("nan")
    broken = broken.replace(optimizer=torch.optim.SGD(broken.model.parameters(), lr=1e-2))
    trial = gs.verify(broken, REINITIALIZE, steps=20, seeds=2)
    assert [len(curve) for curve in trial.before] == [1, 1]
    finals = [sorted(curve[-5:])[2] for curve in trial.after]
    differences = [max(curve) - final for curve, final in zip(trial.after, finals, strict=True)]
    assert trial.effect == pytest.approx(sum(differences) / 2)
    assert "2 of 4 runs left the finite numbers" in trial.note
