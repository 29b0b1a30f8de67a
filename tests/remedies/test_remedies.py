"""Each remedy mends its fault on a copy, and leaves the subject as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import vectors
from torch import nn

import gainstage as gs
from gainstage import remedies
from gainstage.errors import SubjectError


def subject(model: nn.Module, loss: Any = None, batch: Any = None) -> gs.Subject:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    made = gs.Subject(model, batch or vectors(), loss, optimizer)
    inputs, targets = made.batches.first()
    if made.loss is None and model.training:
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return made


def state(s: gs.Subject) -> list[Any]:
    assert s.optimizer is not None
    tensors = [t.clone() for t in s.model.state_dict().values()]
    return [*tensors, str(s.model), s.model.training, str(s.optimizer.state_dict()), torch.get_rng_state()]


def assert_untouched(before: list[Any], s: gs.Subject) -> None:
    for left, right in zip(before, state(s), strict=True):
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def test_reinitialize_draws_anew_and_forgets_momenta() -> None:
    old = subject(net())
    before = state(old)
    new = remedies.reinitialize(old, seed=1)

    assert_untouched(before, old)
    assert not torch.equal(new.model[0].weight, old.model[0].weight)
    assert new.optimizer is not None
    assert new.optimizer.param_groups[0]["params"][0] is new.model[0].weight
    # What was drawn starts afresh; the norm's scale and shift, which were not, keep theirs.
    assert set(new.optimizer.state) == {new.model[1].weight, new.model[1].bias}


def test_to_train_mode() -> None:
    old = subject(net().eval())
    before = state(old)
    assert remedies.to_train_mode(old, modules=("1",)).model[1].training
    assert not remedies.to_train_mode(old, modules=("1",)).model[0].training
    assert remedies.to_train_mode(old, modules=("",)).model.training
    assert_untouched(before, old)


def test_a_softmax_module_becomes_an_identity() -> None:
    old = subject(nn.Sequential(net(), nn.Softmax(1)), nn.CrossEntropyLoss())
    new = remedies.drop_output_activation(old, module="1", op="softmax")
    assert isinstance(new.model[1], nn.Identity)
    assert isinstance(old.model[1], nn.Softmax)


class CalledAsFunction(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.body, self.function = net(), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.body(x))


def test_a_softmax_function_changes_the_loss_to_the_same_quantity() -> None:
    old = subject(CalledAsFunction(lambda x: x.softmax(1)), nn.CrossEntropyLoss())
    new = remedies.drop_output_activation(old, module="", op="softmax")
    inputs, targets = old.batches.first()
    logits = new.model.body(inputs)
    assert new.loss is not None
    assert torch.allclose(new.loss(logits.softmax(1), targets), F.cross_entropy(logits, targets))
    with pytest.raises(SubjectError, match="relu must be a module of its own to be dropped"):
        remedies.drop_output_activation(old, module="", op="relu")


def test_drop_bias_takes_it_out_of_the_optimizer_too() -> None:
    old = subject(net())
    before = state(old)
    new = remedies.drop_bias(old, modules=("0",))
    assert new.model[0].bias is None
    assert new.optimizer is not None
    held = {id(p) for group in new.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in new.model.parameters()}
    assert_untouched(before, old)


@pytest.mark.parametrize(
    "batches",
    [
        lambda x, y: [(x[:40], y[:40]), (x[40:], y[40:])],
        lambda x, y: [[x[:40], y[:40]], [x[40:], y[40:]]],
        lambda x, y: (x, y),
        lambda x, y: ({"input": x}, y),
        lambda x, _: x,
    ],
)
def test_inputs_are_standardised_per_feature_over_the_series(batches: Any) -> None:
    x = torch.randn(64, 8) * torch.logspace(-2, 3, 8) + 100
    x[:, 3] = 7.0  # constant
    old = gs.Subject(nn.Linear(8, 3), batches(x, torch.randint(3, (64,))))
    new = remedies.standardise_inputs(old)

    tensors = []
    for batch in new.batches:
        first = batch[0] if isinstance(batch, (tuple, list)) else batch
        tensors.append(first["input"] if isinstance(first, dict) else first)
    seen = torch.cat(tensors).double()
    assert torch.allclose(seen.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-4)
    varying = [i for i in range(8) if i != 3]
    assert torch.allclose(seen.std(0, correction=0)[varying], torch.ones(7, dtype=torch.float64), rtol=1e-3)
    assert not torch.isnan(seen).any()
    assert torch.equal(x[:, 3], torch.full((64,), 7.0))


def test_of_several_tensors_the_last_are_the_targets() -> None:
    first, second, targets = torch.randn(64, 4) * 50, torch.randn(64, 4) + 9, torch.randn(64, 4) + 3
    new = remedies.standardise_inputs(gs.Subject(nn.Bilinear(4, 4, 4), (first, second, targets)))
    batch = new.batches.first()

    assert [round(float(tensor.mean()), 3) for tensor in batch[:2]] == [0.0, 0.0]
    assert torch.equal(batch[2], targets)


def test_inputs_that_are_not_known_cannot_be_standardised() -> None:
    with pytest.raises(SubjectError, match="forward="):
        remedies.standardise_inputs(gs.Subject(net(), vectors(), forward=lambda m, b: m(b[0]).sum()))
    with pytest.raises(SubjectError, match="floating inputs"):
        remedies.standardise_inputs(gs.Subject(nn.Embedding(3, 3), torch.zeros(4, dtype=torch.long)))


def test_what_cannot_be_copied_is_said() -> None:
    model = nn.Linear(8, 3)
    model.cache = model.weight * 2  # neither a parameter nor a buffer, and no leaf
    with pytest.raises(SubjectError, match="the model must be copyable"):
        remedies.reinitialize(gs.Subject(model, vectors()))


def test_a_fix_for_another_model_is_refused() -> None:
    fix = gs.Fix("NRM001", "deep.norm", "x", "to_train_mode", {"modules": ("deep.norm",)})
    with pytest.raises(SubjectError, match=r"module must be a path of Sequential, got 'deep.norm'"):
        fix.apply(gs.Subject(net(), vectors()))


def test_every_remedy_leaves_the_old_subject_as_it_was_and_shares_no_parameter() -> None:
    old = subject(nn.Sequential(net(), nn.Softmax(1)), None)
    before, gradients = state(old), [p.grad for p in old.model.parameters()]
    for name, options in {
        "reinitialize": {"scheme": "he_uniform", "seed": 3},
        "to_train_mode": {"modules": ("0.1",)},
        "drop_output_activation": {"module": "1", "op": "softmax"},
        "standardise_inputs": {"per_feature": False},
        "drop_bias": {"modules": ("0.0",)},
    }.items():
        new = gs.Fix("X", "", "x", name, options).apply(old)
        assert_untouched(before, old)
        assert not {id(p) for p in new.model.parameters()} & {id(p) for p in old.model.parameters()}
        assert all(p.grad is g for p, g in zip(old.model.parameters(), gradients, strict=True))


def test_reinitialize_runs_a_subject_of_its_own_forward() -> None:
    batch = {"left": torch.randn(4, 8), "about": "a dict that the model alone would not take"}
    old = gs.Subject(nn.Linear(8, 3), batch, forward=lambda model, b: model(b["left"]).square().mean())
    assert not torch.equal(remedies.reinitialize(old).model.weight, old.model.weight)


class SharedActivation(nn.Module):
    """One activation module that serves in the body and at the output."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.last, self.act = nn.Linear(8, 16), nn.Linear(16, 3), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.last(self.act(self.first(x))))


def test_an_activation_that_serves_elsewhere_too_is_not_taken_out_there() -> None:
    sigmoid = subject(SharedActivation(nn.Sigmoid()), nn.CrossEntropyLoss())
    new = remedies.drop_output_activation(sigmoid, module="act", op="sigmoid")
    assert isinstance(new.model.act, nn.Sigmoid)
    assert new.loss.__name__ == "CrossEntropyLoss_without_sigmoid"
    relu = subject(SharedActivation(nn.ReLU()), nn.CrossEntropyLoss())
    with pytest.raises(SubjectError, match="serves elsewhere too, and it cannot be undone in the loss"):
        remedies.drop_output_activation(relu, module="act", op="relu")


def test_a_function_under_a_forward_of_its_own_cannot_be_dropped() -> None:
    model = CalledAsFunction(lambda x: x.softmax(1))
    old = gs.Subject(model, vectors(), forward=lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    with pytest.raises(SubjectError, match="the loss is hidden in forward="):
        remedies.drop_output_activation(old, module="", op="softmax")


def test_drop_bias_keeps_what_the_network_computes_in_train_mode() -> None:
    old = subject(net())
    nn.init.normal_(old.model[0].bias)
    new = remedies.drop_bias(old, modules=("0",))
    inputs = vectors()[0]
    assert torch.allclose(old.model(inputs), new.model(inputs), atol=1e-5)
    with pytest.raises(SubjectError, match="modules must have a bias to drop, got ReLU at '2'"):
        remedies.drop_bias(old, modules=("0", "2"))


def test_images_are_standardised_per_channel_and_sequences_per_last_dimension() -> None:
    for shape, dims in (((6, 3, 5, 5), (0, 2, 3)), ((6, 5, 3), (0, 1))):
        x = torch.randn(shape) * 5 + 2
        seen = remedies.standardise_inputs(gs.Subject(nn.Linear(3, 3), (x, None))).batches.first()[0]
        assert torch.allclose(seen.mean(dims), torch.zeros(3), atol=1e-5)
        assert torch.allclose(seen.std(dims, correction=0), torch.ones(3), rtol=1e-4)
        assert seen.dtype == x.dtype


def test_targets_and_integers_are_not_standardised() -> None:
    x, ids, y = torch.randn(6, 3) + 4, torch.arange(6), torch.full((6,), 9.0)
    seen = remedies.standardise_inputs(gs.Subject(nn.Linear(3, 3), ((x, ids), y))).batches.first()
    assert torch.equal(seen[1], y)
    assert torch.equal(seen[0][1], ids)
    assert abs(float(seen[0][0].mean())) < 1e-5


def test_inputs_that_are_not_finite_are_not_standardised() -> None:
    with pytest.raises(SubjectError, match="must be finite to be standardised"):
        remedies.standardise_inputs(gs.Subject(nn.Linear(2, 2), torch.tensor([[1.0, float("nan")], [1.0, 2.0]])))
