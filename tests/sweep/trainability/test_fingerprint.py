"""Fingerprints: equal for equal subjects, also of another process; another for all that changes a run."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.sweep.trainability.fingerprint import digest, fingerprints


class Scaled(nn.Module):
    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(3, 2), factor
        self.register_buffer("shift", torch.zeros(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.factor + self.shift


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: float) -> None:
        self.x = torch.tensor(x)


def subject(**changes: Any) -> gs.Subject:
    torch.manual_seed(0)
    model = Scaled()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return gs.Subject(model, [(torch.ones(4, 3), torch.zeros(4, 2))], nn.MSELoss(), optimizer).replace(**changes)


def found(given: gs.Subject) -> dict[str, str]:
    return fingerprints(given, given.batches.take(64))


def changed(given: gs.Subject) -> set[str]:
    before, after = found(subject()), found(given)
    return {name for name in before if before[name] != after[name]}


def weight(given: gs.Subject) -> None:
    with torch.no_grad():
        given.model.linear.weight[0, 0] += 1e-7


def frozen(given: gs.Subject) -> None:
    given.model.linear.bias.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (weight, "model's fingerprint"),
        (frozen, "model's fingerprint"),
        (lambda given: given.model.shift.add_(1), "model's fingerprint"),
        (lambda given: setattr(given.model, "factor", 0.6), "model's fingerprint"),
        (lambda given: setattr(given.model, "_hidden", 0.6), "model's fingerprint"),
        (lambda given: given.model.eval(), "model's fingerprint"),
        (lambda given: given.batches.first()[0].add_(1e-6), "batches' fingerprint"),
        (lambda given: given.optimizer.param_groups[0].update(momentum=0.8), "optimizer"),
        (lambda given: setattr(given.loss, "reduction", "sum"), "loss's fingerprint"),
    ],
)
def test_what_changes_a_run_changes_one_of_them(change: Callable[[gs.Subject], None], name: str) -> None:
    given = subject()
    change(given)
    assert changed(given) == {name}


def test_equal_subjects_have_equal_ones_whatever_their_rate_and_name() -> None:
    assert changed(subject()) == set()
    given = subject(name="another")
    given.optimizer.param_groups[0]["lr"] = 9.0
    assert changed(given) == set()


def weighted(outputs: Any, targets: Any, *, weight: float) -> Any:
    return weight * (outputs - targets).square().mean()


def test_losses_are_told_by_what_they_hold() -> None:
    def closed(weight: torch.Tensor) -> Callable[..., Any]:
        return lambda outputs, targets: (weight * (outputs - targets)).square().mean()

    assert digest(closed(torch.ones(2))) == digest(closed(torch.ones(2)))
    assert digest(closed(torch.ones(2))) != digest(closed(torch.zeros(2)))
    assert digest(partial(weighted, weight=1.0)) != digest(partial(weighted, weight=2.0))
    assert changed(subject(loss=partial(weighted, weight=1.0))) == {"loss's fingerprint"}  # in the model's own file


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2), -torch.zeros(2)),
        (torch.eye(2).to_sparse(), torch.zeros(2, 2).to_sparse()),
        (np.zeros(2), np.zeros(2, np.float32)),
        (["ab", "c"], ["a", "bc"]),
        ([[1], 2], [1, [2]]),
        (1, 1.0),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (Slotted(1.0), Slotted(2.0)),
        (SimpleNamespace(x=[1]), SimpleNamespace(x=[2])),
        (deque([1]), deque([2])),
        (date(2020, 1, 1), date(2020, 1, 2)),
    ],
)
def test_contents_are_told_apart(one: Any, other: Any) -> None:
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.complex64, torch.float64])
def test_tensors_of_every_type_and_layout_are_read(dtype: torch.dtype) -> None:
    whole = torch.arange(6).reshape(2, 3).to(dtype)
    assert digest(whole.T.contiguous()) == digest(whole.T)
    assert digest(whole[:0]) != digest(whole)
    assert digest(whole.sum() if dtype is not torch.bool else whole.any())


def test_rings_end() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    model = Scaled()
    model.parts = [model]
    assert digest(ring)
    assert digest(threading.Lock()) == digest(threading.Lock())
    assert digest(model)
    assert digest(nn.LazyLinear(3)) == digest(nn.LazyLinear(3))


PROGRAM = """
import torch
from torch import nn
from gainstage.sweep.trainability.fingerprint import digest
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LSTM(3, 2), nn.MultiheadAttention(4, 2))
model.register_forward_hook(print)
loss, options = nn.CrossEntropyLoss(weight=torch.ones(2)), torch.optim.Adam(model.parameters()).defaults
print(digest([model, loss, options, {"a", "b"}]))
"""


def test_another_process_finds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    exec(PROGRAM, {})
    assert told == capsys.readouterr().out


def test_another_source_is_another_code(tmp_path: Path) -> None:
    def made(text: str) -> str:
        place = tmp_path / f"{abs(hash(text))}.py"
        place.write_text(text)
        names: dict[str, Any] = {"__name__": "own"}
        exec(compile(text, str(place), "exec"), names)
        return found(subject(model=names["Net"](), optimizer=None))["code's fingerprint"]

    source = "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self): super().__init__(3, 2)\n"
    assert made(source + "    def forward(self, x): return super().forward(x)\n") != made(
        source + "    def forward(self, x): return -super().forward(x)\n"
    )
