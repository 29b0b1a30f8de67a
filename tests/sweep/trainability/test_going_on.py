"""Maps that are stopped and gone on with: the same map, to the last bit, as one that never was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.errors import StoreError
from gainstage.sweep.trainability import mapping, trainability_map

SMALL: dict[str, Any] = {"norms": ("as-is", "batch"), "scales": (1, 10), "rates": (1e-2, 1.0), "steps": 5}

PROGRAM = """
import sys
from sweep.trainability.test_going_on import SMALL, network
from gainstage.sweep.trainability import trainability_map
trainability_map(network(), **SMALL, store=sys.argv[1], on_progress=lambda done, _: print(done, flush=True))
"""


def network(width: int = 16) -> gs.Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 3))
    inputs = torch.randn(32, 8)
    return gs.Subject(model, (inputs, inputs[:, :3].argmax(1)), nn.CrossEntropyLoss(), name="small")


@pytest.fixture(scope="module")
def undisturbed() -> str:
    return trainability_map(network(), **SMALL).to_json()


class Counted:
    """Counts the runs that are trained, and is Ctrl-C, or the budget's end, in one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_in: int | None = None) -> None:
        self.runs, self._stop_in, self._trained = 0, stop_in, mapping.trained
        monkeypatch.setattr(mapping, "trained", self)

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.runs += 1
        if self.runs == self._stop_in:
            raise KeyboardInterrupt
        return self._trained(*args, **options)


def test_a_store_changes_nothing(tmp_path: Path, undisturbed: str) -> None:
    assert trainability_map(network(), **SMALL, store=tmp_path).to_json() == undisturbed


@pytest.mark.parametrize("stop_in", [2, 15, 30])
def test_ctrl_c_costs_the_run_in_flight(
    tmp_path: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch, stop_in: int
) -> None:
    with monkeypatch.context() as patch:
        Counted(patch, stop_in)
        stopped = trainability_map(network(), **SMALL, store=tmp_path)
    assert stopped.interrupted
    assert len(stopped.cells) == stop_in - 1
    counted = Counted(monkeypatch)
    found = trainability_map(network(), **SMALL, store=tmp_path)
    assert found.to_json() == undisturbed
    assert counted.runs == len(found.cells) - (stop_in - 1)
    assert trainability_map(network(), **SMALL, store=tmp_path).to_json() == undisturbed
    assert counted.runs == len(found.cells) - (stop_in - 1), "nothing is done twice"


def test_a_kill_costs_the_run_in_flight(tmp_path: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "store")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < 14:
            pass
        child.kill()
        done = 14 + len(child.stdout.read().split())
    counted = Counted(monkeypatch)
    found = trainability_map(network(), **SMALL, store=tmp_path / "store")
    assert found.to_json() == undisturbed
    # One may have been kept and not told of, when the kill came.
    assert len(found.cells) - counted.runs in (done, done + 1)
    assert counted.runs


def stop_at(last: int) -> Callable[[int, str], None]:
    """Ctrl-C after so many runs."""

    def tell(done: int, _what: str) -> None:
        if done == last:
            raise KeyboardInterrupt

    return tell


class Clock:
    """A clock by which every run takes a second, whatever stops in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self._trained = 0.0, mapping.trained
        monkeypatch.setattr(mapping, "trained", self._run)
        monkeypatch.setattr(mapping.time, "monotonic", lambda: self.now)

    def _run(self, *args: Any, **options: Any) -> Any:
        self.now += 1.0
        return self._trained(*args, **options)


def test_the_budget_is_the_maps_however_often_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    whole = trainability_map(network(), **SMALL, budget=30.5)
    assert (len(whole.cells), whole.complete) == (30, False)
    for stop in (7, 20):
        part = trainability_map(network(), **SMALL, store=tmp_path, budget=30.5, on_progress=stop_at(stop))
        assert len(part.cells) == stop
    assert trainability_map(network(), **SMALL, store=tmp_path, budget=30.5) == whole
    # It is spent: the kept runs are shown, also with a smaller one, and a larger one goes on.
    for budget in (30.5, 3.0):
        assert trainability_map(network(), **SMALL, store=tmp_path, budget=budget) == whole
    longer = trainability_map(network(), **SMALL, store=tmp_path, budget=32.5)
    assert len(longer.cells) == 32
    assert trainability_map(network(), **SMALL, budget=32.5) == longer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 7}, "whose number of steps is 7, got 5"),
        ({"seed": 1}, "whose seed is 1, got 0"),
        ({"norms": ("as-is",)}, "whose series of norms is as-is, got as-is,batch"),
        ({"scales": (0.1, 10)}, "whose range of scales is 0.1,10.0, got 1.0,10.0"),
        ({"rates": (1e-3, 1.0)}, "whose range of learning rates is 0.001,1.0, got 0.01,1.0"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    trainability_map(network(), **SMALL, store=tmp_path, on_progress=stop_at(1))
    with pytest.raises(StoreError, match=message):
        trainability_map(network(), **SMALL | changes, store=tmp_path)


def test_another_subject_is_refused(tmp_path: Path) -> None:
    trainability_map(network(), **SMALL, store=tmp_path, on_progress=stop_at(1))
    with pytest.raises(StoreError, match=r"whose model's fingerprint is [0-9a-f]{16}, got [0-9a-f]{16}"):
        trainability_map(network(width=17), **SMALL, store=tmp_path)


def test_ctrl_c_before_the_first_run_is_no_matter_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    Counted(monkeypatch, stop_in=1)
    with pytest.raises(KeyboardInterrupt):
        trainability_map(network(), **SMALL)


def test_a_loader_that_shuffles_by_itself_gives_every_run_the_same_batches(tmp_path: Path) -> None:
    def shuffled() -> gs.Subject:
        given = network()
        inputs, targets = given.batches.first()
        data = torch.utils.data.TensorDataset(inputs, targets)
        own = torch.Generator().manual_seed(3)
        return given.replace(batches=torch.utils.data.DataLoader(data, 16, shuffle=True, generator=own))

    options = SMALL | {"norms": ("as-is",)}
    trainability_map(shuffled(), **options, store=tmp_path, on_progress=stop_at(9))
    assert trainability_map(shuffled(), **options, store=tmp_path) == trainability_map(shuffled(), **options)


def test_batches_that_cannot_be_read_are_told() -> None:
    class Broken:
        def __iter__(self) -> Any:
            yield from ()
            raise RuntimeError("no such file")

    with pytest.raises(gs.GainstageError, match="map: batches must be readable, got RuntimeError: no such file"):
        trainability_map(network().replace(batches=Broken()))
