"""A learning rate for any kind of subject: found or refused in a line, an honest bill, and nothing changed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gainstage.errors import GainstageError, SubjectError
from gainstage.landscape import suggest_lr
from gainstage.landscape.learning_rate.search import STEPS, Search
from gainstage.landscape.learning_rate.suggestion import MOST
from gainstage.landscape.learning_rate.updates import updates
from gainstage.trace import Subject
from landscape.lr_cases import Pairs, classes, network, require_whole, values
from landscape.quadratics import same, state_of


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Mapping(nn.Module):
    """Takes a dict and computes its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.inner(x)
        return {"logits": logits, "loss": F.cross_entropy(logits, labels)}


class Tied(nn.Module):
    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 5, sparse=sparse), nn.Linear(5, 7, bias=False)
        if not sparse:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(tokens))


class Scorer(nn.Module):
    """A Gaussian's negative log-likelihood, which may well be negative, and of which a scale of zero is none."""

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        scale = outputs[:, 1:].exp() * (outputs[:, 1:] != 0)
        return -torch.distributions.Normal(outputs[:, :1], scale).log_prob(targets).mean()


def _cast(dtype: torch.dtype) -> Subject:
    model = network(1).to(dtype)
    data = [(x.to(dtype), t.to(dtype)) for x, t in values()]
    return Subject(model, data, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def _frozen() -> Subject:
    model = network()
    model[0].requires_grad_(requires_grad=False)
    return Subject(model, classes())


def _lazy_with_optimizer() -> Subject:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    return Subject(model, classes(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def _sequence() -> Pairs:
    tokens = torch.randint(7, (64, 6))
    return [(part[:, :-1], part[:, 1:]) for part in tokens.split(8)]


def _sparse() -> Subject:
    model = Tied(sparse=True)
    return Subject(model, _sequence(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def _mse(shift: float, scale: float = 1.0) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda y, t: scale * F.mse_loss(y, t) + shift


def _shuffled() -> DataLoader:
    inputs, targets = (torch.cat(parts) for parts in zip(*classes(), strict=True))
    return DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "one batch": lambda: Subject(network(), classes()[0]),
    "generator": lambda: Subject(network(), (batch for batch in classes())),
    "shuffling loader": lambda: Subject(network(), _shuffled()),
    "dicts, own loss": lambda: Subject(Mapping(), [{"x": x, "labels": t} for x, t in classes()]),
    "dicts, loss": lambda: Subject(
        Mapping(), [{"x": x, "labels": t} for x, t in classes()], lambda y, t: F.cross_entropy(y["logits"], t)
    ),
    "forward": lambda: Subject(network(), classes(), forward=lambda m, b: F.cross_entropy(m(b[0]), b[1])),
    "negative": lambda: Subject(network(2), values(1e-3), Scorer()),
    "likelihood": lambda: Subject(network(2), values(), Scorer()),
    "above": lambda: Subject(network(1), values(), _mse(1e4)),
    "below": lambda: Subject(network(1), values(), _mse(-1e4)),
    "far above": lambda: Subject(network(1), values(), _mse(1e9)),
    "large targets": lambda: Subject(network(1), values(1e4, 1e5)),
    "huge targets": lambda: Subject(network(1), values(1e18, 1e18)),
    "tiny loss": lambda: Subject(network(1), values(), _mse(0.0, 1e-30)),
    "from zero": lambda: Subject(network(1), values(), lambda y, _: (y - y.detach()).mean()),
    "deep": lambda: Subject(network(3, *[nn.Sequential(nn.ReLU(), nn.Linear(8, 8)) for _ in range(30)]), classes()),
    "eval mode": lambda: Subject(network(3, nn.BatchNorm1d(8)).eval(), classes()),
    "lazy": lambda: Subject(nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.LazyLinear(3)), classes()),
    "lazy with optimizer": _lazy_with_optimizer,
    "frozen": _frozen,
    "tied": lambda: Subject(Tied(), _sequence()),
    "sparse": _sparse,
    "dropout": lambda: Subject(network(3, nn.Dropout(0.5)), classes()),
    "half": lambda: _cast(torch.float16),
    "bfloat16": lambda: _cast(torch.bfloat16),
    "float64": lambda: _cast(torch.float64),
    "no targets": lambda: Subject(network(), [x for x, _ in classes()], lambda y, _: y.square().mean()),
    "linear": lambda: Subject(nn.Linear(4, 1), values(), lambda y, _: y.mean()),
    "saturated": lambda: Subject(network(1), values(), lambda y, t: torch.tanh(F.mse_loss(y, t))),
    "a batch of nan": lambda: Subject(network(), [*classes(), (torch.full((16, 4), math.nan), classes()[0][1])]),
}


@pytest.mark.parametrize("kind", SUBJECTS)
def test_every_kind_of_subject_has_a_rate(kind: str) -> None:
    require_whole(suggest_lr(SUBJECTS[kind]()))


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("one batch", "Only one batch: runs that repeat them say little of noise"),
        ("eval mode", "handed over in evaluation mode; it was trained in training mode"),
        ("far above", "the loss does not fall by a thousandth of itself"),
        ("a batch of nan", "At every rate tried the loss ended as inf or nan"),
        ("a batch of nan", "No short run held"),
        ("deep", "No short run came below a network that knows nothing"),
    ],
)
def test_what_makes_it_doubtful_is_said(kind: str, note: str) -> None:
    assert note in " ".join(suggest_lr(SUBJECTS[kind]()).notes)


def test_a_clear_subject_needs_no_note() -> None:
    found = suggest_lr(network(), classes(), optimizer="sgd")
    assert found.notes == ()
    assert suggest_lr(network(), classes()[:1]).noise == 0


# Where no rate helps


class Fails(nn.Module):
    """Raises at a later call; counts are of all copies."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.inner, self.calls, self.after = network(3, nn.BatchNorm1d(8)), [0], after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = [self.calls[0] + 1]
        if self.calls[0] > self.after:
            raise RuntimeError("made\nto fail")
        return self.inner(x)


def _zero_head() -> nn.Module:
    model = network(1)
    for parameter in model[-1].parameters():
        nn.init.zeros_(parameter)
    return model


def _half_adam() -> Subject:
    return Subject(network().half(), [(x.half(), t) for x, t in classes()])


def _of_another() -> Subject:
    another = network()
    return Subject(network(), classes(), forward=lambda _, batch: another(batch[0]).mean())


NONE: dict[str, tuple[Callable[[], Subject], str]] = {
    "nan": (lambda: Subject(network(), classes(), lambda y, _: y.mean() * math.nan), "loss must be finite .* got nan"),
    "inf": (lambda: Subject(network(), classes(), lambda y, _: y.mean() + math.inf), "loss must be finite .* got inf"),
    "infinite gradient": (
        lambda: Subject(network(1), values(), lambda y, _: (y * 0).sqrt().mean()),
        "gradient must be finite and not zero",
    ),
    "zero gradient": (
        lambda: Subject(_zero_head(), [(x, 0 * t) for x, t in values()]), "not zero, got one that is zero. No learning",
    ),
    "vanishing gradient": (
        lambda: Subject(nn.Linear(4, 1), values(), lambda y, _: (y - y.detach()).mean() * 1e-30),
        r"large enough for a rate up to 3\.4e\+38, .*Scale the loss up",
    ),
    "half with Adam": (_half_adam, r"update must be finite, got one that is not \(Adam on torch\.float16\)"),
    "frozen": (lambda: Subject(network().requires_grad_(requires_grad=False), classes()), "got none. Unfreeze some"),
    "no parameters": (lambda: Subject(nn.ReLU(), classes()), "must have trainable parameters, got none"),
    "no batches": (lambda: Subject(network(), []), "must hold at least one batch, got none"),
    "no targets": (lambda: Subject(network(), [x for x, _ in classes()]), "must hold targets, got inputs alone"),
    "no history": (
        lambda: Subject(network(), classes(), lambda y, t: F.cross_entropy(y.detach(), t)), "one without a history",
    ),
    "another model": (_of_another, "reaches none of them"),
    "no scalar": (lambda: Subject(network(), classes(), lambda y, _: y), "must return a scalar tensor"),
    "wrong shape": (lambda: Subject(nn.Linear(5, 3), classes()), "shapes cannot be multiplied"),
    "fails": (lambda: Subject(Fails(0), classes()), "got RuntimeError: made to fail"),
    "fails later": (lambda: Subject(Fails(9), classes()), "got RuntimeError: made to fail"),
    "sparse Adam": (lambda: Subject(Tied(sparse=True), _sequence()), "Adam does not support sparse gradients"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NONE)
def test_where_no_rate_helps_one_line_says_so(kind: str) -> None:
    build, match = NONE[kind]
    with pytest.raises(GainstageError, match=match) as raised:
        suggest_lr(build())
    assert "\n" not in str(raised.value)


class Refuses(nn.Module):
    """Raises where its weights have gone far, as a distribution does of parameters that it does not admit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.inner, self.limit = network(), limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.inner(x)
        if outputs.detach().abs().max() > self.limit:
            raise ValueError("out of its support")
        return outputs


def test_a_model_that_raises_far_away_broke_down_there() -> None:
    data = classes()
    found = suggest_lr(Refuses(8.0), data, optimizer="sgd")
    require_whole(found)
    assert found.held is not None
    assert math.inf in found.ramp[1]
    assert math.inf in [loss for values in found.profile.relative for loss in values]


# The bill


class Counted(nn.Module):
    """Counts real passes through all copies, forward and back."""

    def __init__(self, inner: nn.Module, passes: dict[str, int]) -> None:
        super().__init__()
        self.inner = inner
        self.register_forward_hook(_Tally(passes))

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x)


class _Tally:
    def __init__(self, passes: dict[str, int]) -> None:
        self.passes = passes

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tally:
        return self

    def __call__(self, module: nn.Module, inputs: Sequence[Any], outputs: torch.Tensor) -> None:
        self.passes["forward"] += 1
        if outputs.requires_grad:
            outputs.register_hook(self._back)

    def _back(self, gradient: torch.Tensor) -> None:
        self.passes["back"] += 1


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(
    "kind", ["one batch", "shuffling loader", "likelihood", "eval mode", "lazy", "above", "linear"]
)
def test_the_bill_is_not_below_what_was_computed(kind: str, optimizer: str) -> None:
    given, passes = SUBJECTS[kind](), {"forward": 0, "back": 0}
    found = suggest_lr(given.replace(model=Counted(given.model, passes)), optimizer=optimizer)
    # A backward pass takes twice as long as a forward one. Two products with the Hessian are not in the count of
    # passes; the last backward pass of a run that breaks down is in the bill alone.
    real = passes["forward"] / 3 + passes["back"] * 2 / 3
    products = 2 * 2 if found.curvature_limit is not None else 0
    assert real + products - 1e-9 <= found.equivalents <= real + 2 * 2 + 4
    assert found.equivalents <= MOST


def test_a_search_spends_no_more_than_it_may() -> None:
    given = updates(Subject(network(), classes()), "sgd").subject
    for budget in (0, STEPS - 1, STEPS, 3 * STEPS):
        search = Search(given, highest=1.2, reference=1.1)
        held, lost = search.edge(0.1, budget)
        assert search.steps <= budget
        assert len(search.runs) <= budget // STEPS
        assert held < lost


def test_a_search_tries_no_rate_that_the_parameters_type_cannot_hold() -> None:
    given = updates(Subject(network(), classes()), "sgd").subject
    search = Search(given, highest=1.2, reference=1.1, largest=0.3)
    assert search.ramped(0.01) <= 0.3
    assert max(search.ramp[0]) <= 0.3
    search.edge(0.2, 60)
    assert max(run.lr for run in search.runs) <= 0.3


# Nothing changes


def _all_of(given: Subject) -> list[Any]:
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in given.model.modules()]
    data = [tensor.clone() for batch in given.batches.take(99) for tensor in batch]
    numpy_state = np.random.get_state()
    return [*state_of(given), *hooks, *data, random.getstate(), numpy_state[1].tobytes(), numpy_state[2]]


def whole(model: nn.Module) -> Subject:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    data = classes()
    F.cross_entropy(model(data[0][0]), data[0][1]).backward()
    optimizer.step()
    model.register_forward_hook(lambda *_: None)
    return Subject(model, data, lambda y, t: F.cross_entropy(y, t) + torch.rand(()) * 1e-3, optimizer)


@pytest.mark.parametrize("optimizer", [None, "momentum"])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_changes_and_equal_calls_give_equal_answers(optimizer: str | None, *, training: bool) -> None:
    given = whole(network(3, nn.BatchNorm1d(8), nn.Dropout(0.5)))
    given.model.train(training)
    before = _all_of(given)
    found = suggest_lr(given, optimizer=optimizer)
    assert same(before, _all_of(given))
    torch.rand(3)
    assert suggest_lr(given, optimizer=optimizer) == found
    assert suggest_lr(given, optimizer=optimizer, seed=1) != found


@pytest.mark.parametrize("after", [1, 2, 6, 12])
def test_nothing_changes_when_the_model_fails_midway(after: int) -> None:
    given = whole(Fails(after))
    before = _all_of(given)
    with pytest.raises(SubjectError, match="made to fail"):
        suggest_lr(given)
    assert same(before, _all_of(given))


def test_a_loss_that_closes_over_the_model_leaves_its_gradients() -> None:
    model = network()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    given = Subject(model, classes(), lambda y, t: F.cross_entropy(y, t) + 1e-3 * model[0].weight.square().sum())
    before = state_of(given)
    require_whole(suggest_lr(given))
    assert same(before, state_of(given))


def test_a_model_that_writes_to_its_batch_writes_to_a_copy() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x.mul_(2))

    data = classes()
    kept = [x.clone() for x, _ in data]
    require_whole(suggest_lr(Writes(), data))
    assert all(torch.equal(x, old) for (x, _), old in zip(data, kept, strict=True))
