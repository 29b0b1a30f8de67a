"""Who reads whose output: views, copies, writes in place, units, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.trace.running import outputs_of, set_mode, undisturbed
from gainstage.trace.wiring import View, Wiring, wiring
from zoo.case import SMALL
from zoo.cases import CASES
from zoo.fingerprint import unchanged

OWN = [name for name in CASES if name.startswith("torch:") and "lazy" not in name]


class Net(nn.Module):
    def __init__(self, forward: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.one, self.two, self.function = nn.Linear(4, 4), nn.Linear(4, 4), forward
        self.cache: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def wired(forward: Callable[[Any, torch.Tensor], Any]) -> Wiring:
    torch.manual_seed(0)
    return wiring(Net(forward), torch.randn(2, 3, 4), is_linear)


def readers(found: Wiring, path: str = "one") -> list[str]:
    return [str(node) for node in found.readers(found.calls(path)[0].returns[0].value)]


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda m, x: m.two(m.one(x)), ["two"]),
        (lambda m, x: m.two(m.one(x).view(6, 4)), ["two"]),
        (lambda m, x: m.two(m.one(x).transpose(0, 1)), ["two"]),
        (lambda m, x: m.two(m.one(x).relu()), ["relu in (root)"]),
        (lambda m, x: m.two(m.one(x).relu_()), ["relu in (root)"]),
        (lambda m, x: (lambda y: m.two(y) + y[0].sum())(m.one(x)), ["two", "sum in (root)"]),
        (lambda m, x: m.two(torch.cat([m.one(x), x])), ["cat in (root)"]),
    ],
)
def test_readers(forward: Any, expected: list[str]) -> None:
    assert readers(wired(forward)) == expected


def test_a_write_in_place_makes_a_new_value() -> None:
    found = wired(lambda m, x: m.two(m.one(x).relu_()))
    source = found.producer(found.calls("two")[0].reads[0].value)
    assert str(source) == "relu in (root)"


@pytest.mark.parametrize(
    ("forward", "visible"),
    [
        (lambda m, x: m.two(m.one(x)), False),
        (lambda m, x: {"a": [m.two(y := m.one(x)), y[:, :1]]}, True),
        (lambda m, x: (m.cache.append(m.one(x)), m.two(m.cache[0]))[1], True),
        (lambda m, x: (m.cache.append(m.one(x).relu_()), m.two(m.cache[0]))[1], False),
    ],
)
def test_what_is_returned_or_kept_is_visible(forward: Any, visible: bool) -> None:
    found = wired(forward)
    assert (found.calls("one")[0].returns[0].value in found.visible) is visible


def test_units_hide_what_runs_inside_and_shared_ones_have_a_call_each() -> None:
    model = nn.Sequential(layer := nn.Sequential(nn.Linear(4, 4), nn.ReLU()), layer)
    found = wiring(model, torch.randn(2, 4), lambda module: module is layer)
    assert [str(node) for node in found.nodes] == ["0", "0"]
    assert found.readers(found.calls("0")[0].returns[0].value) == (found.calls("0")[1],)
    assert found.producer(found.calls("0")[0].reads[0].value) is None


def test_channels_are_told_apart_by_where_they_lie() -> None:
    whole = View(0, (2, 3, 4), (12, 4, 1), 0)
    assert whole.same_channels(1, View(0, (2, 3, 2, 2), (12, 4, 2, 1), 0), 1)
    assert whole.same_channels(2, View(0, (6, 4), (4, 1), 0), 1)
    assert whole.same_channels(2, View(0, (2, 4, 3), (12, 1, 4), 0), 1)
    assert not whole.same_channels(1, View(0, (6, 4), (4, 1), 0), 1)
    assert not whole.same_channels(1, View(0, (1, 3, 4), (12, 4, 1), 0), 1)
    assert not whole.same_channels(1, View(0, (2, 3, 4), (12, 4, 1), 12), 1)
    assert not whole.same_channels(1, View(1, (2, 3, 4), (12, 4, 1), 0), 1)
    assert not View(0, (2, 3), (0, 1), 0).dense


@pytest.mark.parametrize("name", OWN)
@pytest.mark.filterwarnings("ignore")
def test_networks_of_the_zoo_are_wired_and_left_as_they_were(name: str) -> None:
    parts = CASES[name].parts(SMALL)
    with unchanged(parts.model, parts.batch):
        found = wiring(parts.model, parts.batch, is_linear, forward=parts.forward)
    assert found.nodes
    assert all(view.value >= 0 for node in found.nodes for view in node.reads)


def test_a_batch_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(gs.GainstageError, match="wiring: the model must accept the batch, got RuntimeError"):
        wiring(nn.Linear(4, 4), torch.randn(2, 3), is_linear)


def test_inside_undisturbed_a_model_may_do_as_it_likes() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).train(), torch.randn(8, 4)
    with unchanged(model, x), undisturbed(model):
        set_mode(model[1:], training=False)
        outputs_of(model, x, lambda m, batch: m(batch.mul_(2)))
        model[0].momentum, model[0].extra = 0.5, 3
    assert "extra" not in vars(model[0])


class OneHot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(60, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.one_hot(ids, 10).float().flatten(1))


class Bytes(nn.Module):
    def __init__(self, divided: bool) -> None:
        super().__init__()
        self.head, self.divided = nn.Linear(48, 3), divided

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head((pixels / 255 if self.divided else pixels.float()).flatten(1))


class Masked(nn.Module):
    """The ids' mask is a number, too, and no signal."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(10, 8, padding_idx=0), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids != 0).float()[..., None]
        return self.head((self.words(ids) * mask).sum(1) / mask.sum(1).clamp(min=1))


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        (OneHot(), torch.randint(10, (32, 6)), [("head", ())]),
        (Bytes(divided=True), torch.randint(256, (32, 3, 4, 4), dtype=torch.uint8), [("head", ())]),
        (Bytes(divided=False), torch.randint(256, (32, 3, 4, 4), dtype=torch.uint8), [("head", ())]),
        (Masked(), torch.randint(10, (32, 6)), [("words", ()), ("head", (0,))]),
    ],
)
def test_whole_numbers_are_inputs_too(
    model: nn.Module, inputs: torch.Tensor, expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    trace = gs.record(model, (inputs, torch.arange(32) % 3))
    assert [(layer.name, layer.inputs) for layer in trace.layers] == expected
    assert trace.loss_record is not None
    assert trace.loss_record.input == len(expected) - 1
