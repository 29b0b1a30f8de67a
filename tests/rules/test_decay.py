"""OPT007: decay that outweighs the loss, and decay that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.rules import rule_of
from gainstage.rules.base import Finding
from gainstage.trace.records import Trace
from gainstage.trace.training_records import OptimizerRecord, TrialRecord, VariantRecord

BATCH = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def network(scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    with torch.no_grad():
        model[2].weight.mul_(scale)
    return model


def spoken(optimizer: Optimizer, model: nn.Module) -> list[str]:
    return [
        f.code for f in gs.check(model, BATCH, optimizer=optimizer(list(model.parameters())), select="OPT007").findings
    ]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (lambda p: torch.optim.Adam(p, weight_decay=0.5), ["OPT007"]),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=1.0), ["OPT007"]),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=5e-4), []),
        (lambda p: torch.optim.RMSprop(p, weight_decay=1e-2), []),
        (torch.optim.Adam, []),
        # A share of the weights, which the learning rate scales down.
        (lambda p: torch.optim.AdamW(p, weight_decay=0.5), []),
        # Biases alone are decayed.
        (lambda p: torch.optim.SGD([{"params": p[1::2], "weight_decay": 1.0}, {"params": p[::2]}], lr=0.1), []),
    ],
)
def test_decay_at_the_start(optimizer: Optimizer, expected: list[str]) -> None:
    assert spoken(optimizer, network()) == expected


def test_the_pull_is_that_of_the_norms() -> None:
    model = network()
    report = gs.check(
        model, BATCH, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.8), select="OPT007"
    )
    nn.functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()
    weights = [model[0].weight, model[2].weight]
    norm = torch.cat([weight.detach().flatten() for weight in weights]).norm()
    gradient = torch.cat([weight.grad.flatten() for weight in weights]).norm()

    assert report.findings[0].value == pytest.approx(0.8 * float(norm / gradient), rel=1e-4)


def test_a_network_that_knows_something_is_in_balance() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()
        optimizer.step()

    assert spoken(lambda p: torch.optim.Adam(p, weight_decay=0.5), model) == []


@pytest.mark.parametrize(("without", "expected"), [(0.4, ["OPT007"]), (2.0, [])])
def test_a_trial_without_decay(without: float, expected: list[str]) -> None:
    trial = TrialRecord(200, (2.3,) * 200, variants=(VariantRecord("weight_decay", 0.0, 0.1, without),))
    trace = Trace((), loss=2.3, optimizer=OptimizerRecord("AdamW", (0.1,), (1.0,)), trial=trial)

    assert [r.code for r in rule_of("OPT007").check(trace) if isinstance(r, Finding)] == expected


@pytest.mark.parametrize("decay", [0.05, 3.0])
def test_each_group_has_its_own_decay(decay: float) -> None:
    model = network()
    optimizer = torch.optim.SGD(
        [
            {"params": model[0].parameters(), "weight_decay": 1e-4},
            {"params": model[2].parameters(), "weight_decay": decay},
        ],
        lr=0.1,
    )
    report = gs.check(model, BATCH, optimizer=optimizer, select="OPT007")
    nn.functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()
    weights = [model[0].weight, model[2].weight]
    pulls = torch.stack([weight.detach().norm() for weight in weights]) * torch.tensor([1e-4, decay])
    pull = float(pulls.norm() / torch.cat([weight.grad.flatten() for weight in weights]).norm())

    assert [f.value for f in report.findings] == ([pytest.approx(pull, rel=1e-4)] if decay > 1 else [])


def test_decoupled_adam_is_adamw() -> None:
    assert spoken(lambda p: torch.optim.Adam(p, weight_decay=0.5, decoupled_weight_decay=True), network()) == []


def test_a_table_of_which_few_rows_are_read() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(3000, 64), nn.Linear(64, 4)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.out(self.table(tokens).mean(1))

    model = Bag()
    batch = torch.randint(3000, (32, 8)), torch.arange(32) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=5e-4)
    assert gs.check(model, batch, optimizer=optimizer, select="OPT007").findings == ()


def test_without_a_yardstick_nothing_is_said_of_a_trained_network() -> None:
    model = network()
    subject = gs.Subject(
        model, BATCH, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1.0),
        forward=lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]),
    )  # fmt: skip
    assert gs.check(subject, select="OPT007").findings == ()
