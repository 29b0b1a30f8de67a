"""Every network of the zoo is recorded whole, twice alike, and left bit for bit as it was, whatever happens."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as module_hooks

import gainstage as gs
from gainstage.trace import call
from zoo.case import SMALL, Parts
from zoo.cases import CASES, MISSING
from zoo.failing import Raise
from zoo.fingerprint import differences, fingerprint, unchanged
from zoo.survey import MOST_MISSING, unseen

PACKAGES = ("timm", "torchvision", "transformers")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_that_the_zoo_is_built_from(name: str) -> None:
    if name in MISSING:
        pytest.skip(f"its networks are not tested: {MISSING[name]}")
    assert sum(case.startswith(f"{name}:") for case in CASES) >= 20


@pytest.mark.skipif(not os.environ.get("CI"), reason="a machine of one's own need not have every package")
def test_on_ci_no_more_packages_are_missing_than_stated() -> None:
    assert len(MISSING) <= MOST_MISSING, MISSING


def test_the_zoo_is_large() -> None:
    of_torch = [name for name in CASES if name.startswith("torch:")]
    assert len(of_torch) >= 60
    assert len(CASES) >= (200 if not MISSING else len(of_torch))


@pytest.mark.parametrize("name", CASES)
def test_recorded_whole_twice_alike_and_unchanged(name: str) -> None:
    parts = CASES[name].parts(SMALL)
    subject = parts.subject()
    with unchanged(parts.model, parts.batch):
        trace = gs.record(subject)
    assert trace.layers
    assert trace.loss == trace.loss
    matrices, not_seen = unseen(trace)
    assert not not_seen
    assert matrices
    text = trace.to_json()
    assert gs.record(subject).to_json() == text
    assert gs.Trace.from_json(text) == trace


def failing(parts: Parts, where: str, error: type[BaseException]) -> gs.Subject:
    """The same subject, whose loss or backward pass fails."""
    subject = parts.subject()

    def forward(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = call.batch_loss(subject, model, batch)
        if where == "loss":
            raise error("as planned")
        return Raise.apply(loss, error)

    return subject.replace(forward=forward)


def recorded_until(subject: gs.Subject, call_number: int | None = None) -> int:
    """Records, with a keyboard interrupt at that call of a module; returns the number of calls."""
    calls = 0

    def hook(_module: nn.Module, _inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call_number:
            raise KeyboardInterrupt("as planned")

    handle = module_hooks.register_module_forward_pre_hook(hook)
    try:
        gs.record(subject)
    finally:
        handle.remove()
    return calls


@pytest.mark.parametrize("name", CASES)
def test_failures_change_nothing_either(name: str) -> None:
    parts = CASES[name].parts(SMALL)
    before = fingerprint(parts.model, parts.batch)
    calls = recorded_until(parts.subject())
    with pytest.raises(KeyboardInterrupt, match="as planned"):
        recorded_until(parts.subject(), calls // 2 + 1)
    for where, error in (("loss", RuntimeError), ("backward", RuntimeError), ("backward", KeyboardInterrupt)):
        expected = KeyboardInterrupt if error is KeyboardInterrupt else gs.GainstageError
        with pytest.raises(expected, match="as planned"):
            gs.record(failing(parts, where, error))
    assert differences(before, fingerprint(parts.model, parts.batch)) == []
