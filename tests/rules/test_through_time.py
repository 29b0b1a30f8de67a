"""GRD006: gradients that fade over the steps of recurrent layers, and layers that remember longer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import gainstage as gs
from gainstage.diagnosis.remembering import LongMemory, remembering
from gainstage.diagnosis.through_time import through_time
from gainstage.errors import SubjectError
from gainstage.trace.subject import Subject

STEPS, CLASSES = 100, 4


class Recall(nn.Module):
    """Reads a symbol at the start of a sequence, and is asked for it at the end or on the mean over all steps."""

    def __init__(self, kind: type[nn.RNNBase], *, mean: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = kind(CLASSES, 32, batch_first=batch_first), nn.Linear(32, CLASSES)
        self.mean, self.along = mean, 1 if batch_first else 0

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.rnn(x if self.along else x.transpose(0, 1))[0]
        return self.head(outputs.mean(self.along) if self.mean else outputs.select(self.along, -1))


def symbols(steps: int = STEPS, count: int = 1024) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    labels = torch.randint(CLASSES, (count,))
    x = 0.1 * torch.randn(count, steps, CLASSES)
    x[:, 0] += nn.functional.one_hot(labels, CLASSES)
    return x, labels


def subject(model: nn.Module, steps: int = STEPS) -> Subject:
    x, labels = symbols(steps)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return gs.Subject(model, list(zip(x.split(64), labels.split(64), strict=True)), optimizer=optimizer)


@pytest.mark.parametrize("batch_first", [True, False])
def test_what_comes_back_is_the_product_of_the_steps(batch_first: bool) -> None:
    model = Recall(nn.RNN, batch_first=batch_first)
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(0.5 * torch.eye(32))
        model.rnn.weight_ih_l0.mul_(1e-3)  # tanh is straight there
        model.rnn.bias_ih_l0.zero_()
        model.rnn.bias_hh_l0.zero_()
    (found,) = through_time(subject(model, 21))
    assert (found.module, found.type, found.steps) == ("rnn", "RNN_TANH", 21)
    assert found.faintest == pytest.approx(0.5**20, rel=1e-3)


def test_a_mean_over_the_steps_reaches_all_of_them() -> None:
    (found,) = through_time(subject(Recall(nn.RNN, mean=True)))
    assert found.faintest > 0.1


def test_leaves_the_subject_as_it_was() -> None:
    given = subject(Recall(nn.LSTM))
    before, state = copy.deepcopy(given.model.state_dict()), torch.get_rng_state()
    assert through_time(given)
    assert all(torch.equal(value, given.model.state_dict()[name]) for name, value in before.items())
    assert torch.equal(state, torch.get_rng_state())
    assert not given.model.rnn._forward_pre_hooks
    assert all(parameter.grad is None for parameter in given.model.parameters())


@pytest.mark.parametrize("model", [nn.Linear(CLASSES, CLASSES), Recall(nn.GRU)])
def test_says_nothing_of_short_sequences_and_of_what_is_not_recurrent(model: nn.Module) -> None:
    x, labels = symbols(7)
    batch = (x, labels) if isinstance(model, Recall) else (x[:, 0], labels)
    assert through_time(gs.Subject(model, batch)) == ()


@pytest.mark.parametrize(("mean", "expected"), [(False, ["GRD006"]), (True, [])])
def test_a_trial_with_a_longer_memory_decides(mean: bool, expected: list[str]) -> None:
    report = gs.check(subject(Recall(nn.RNN, mean=mean)), steps=200, select="GRD006")
    assert [finding.code for finding in report.findings] == expected
    if expected:
        evidence = report.findings[0].evidence
        assert evidence["end_with_memory"] < 0.4 * evidence["end"]


def test_without_a_trial_it_is_not_assessed() -> None:
    report = gs.check(subject(Recall(nn.RNN)), select="GRD006")
    assert report.findings == ()
    assert [entry.code for entry in report.not_assessed] == ["GRD006"]


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_layers_that_remember_answer_in_the_same_shapes(kind: type[nn.RNNBase]) -> None:
    given = subject(Recall(kind))
    other = remembering(given)
    x = symbols()[0][:8]
    outputs, state = given.model.rnn(x)
    longer, longer_state = other.model.rnn(x)
    assert longer.shape == outputs.shape
    shapes = [[part.shape for part in s] if isinstance(s, tuple) else s.shape for s in (state, longer_state)]
    assert shapes[0] == shapes[1]
    assert isinstance(other.model.rnn, LongMemory) == (kind is nn.RNN)
    held = {id(parameter) for group in other.optimizer.param_groups for parameter in group["params"]}
    assert held >= {id(parameter) for parameter in other.model.parameters()}
    assert not isinstance(given.model.rnn, LongMemory)


def test_a_long_memory_goes_on_from_a_state() -> None:
    torch.manual_seed(0)
    layer, x = LongMemory(3, 5, batch_first=True), torch.randn(2, 6, 3)
    state = torch.full((1, 2, 5), 0.5)
    assert not torch.allclose(layer(x)[0], layer(x, state)[0])


def test_gates_let_go_after_as_many_steps_as_there_are() -> None:
    other = remembering(subject(Recall(nn.LSTM), 50))
    biases = other.model.rnn.bias_hh_l0.detach()
    forget = biases[32:64]
    assert float(forget.min()) >= 0
    assert float(forget.max()) <= torch.tensor(49.0).log()
    assert torch.equal(biases[:32], -forget)


def test_a_model_without_recurrence_has_nothing_to_remember() -> None:
    with pytest.raises(SubjectError, match="recurrent layers over several steps"):
        remembering(gs.Subject(nn.Linear(4, 4), (torch.randn(8, 4), torch.randint(4, (8,)))))
