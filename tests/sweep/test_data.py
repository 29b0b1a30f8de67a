"""Data, and the order in which each run sees it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import SpecError
from gainstage.sweep import Data
from gainstage.sweep.data import Batches, Order, loaded
from gainstage.sweep.examples import blobs, blobs_spec


@given(st.integers(0, 2**31), st.integers(1, 30), st.data())
def test_an_epoch_has_every_sample_once_and_the_next_another_order(
    seed: int, samples: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, samples))
    order = Order(seed, samples, size)
    steps = samples // size
    for epoch in range(2):
        seen = torch.cat([order.batch(epoch * steps + step) for step in range(steps)])
        assert len(seen) == steps * size
        assert len(set(seen.tolist())) == len(seen)
        assert seen.min() >= 0
        assert seen.max() < samples
    if samples >= 20 and size == 1:
        assert not torch.equal(torch.cat([order.batch(step) for step in range(steps)]), seen)


def test_an_order_is_its_seeds_alone_and_can_be_asked_again() -> None:
    one, other = Order(3, 20, 6), Order(3, 20, 6)
    torch.manual_seed(1)
    backwards = [one.batch(step) for step in reversed(range(9))][::-1]
    assert all(torch.equal(batch, other.batch(step)) for step, batch in enumerate(backwards))
    assert not torch.equal(Order(4, 20, 6).batch(0), one.batch(0))


def test_batches_of_runs_are_those_of_each_alone() -> None:
    data, seeds = blobs(), [5, 3, 5, 4]
    batches = Batches(data, seeds, 8)
    assert not batches.shared
    for step in (0, 9):
        inputs, targets = batches.at(step)
        assert inputs.shape == (4, 8, 8)
        for run, seed in enumerate(seeds):
            alone = Batches(data, [seed], 8)
            assert alone.shared
            assert torch.equal(alone.at(step)[0], inputs[run])
            assert torch.equal(alone.at(step)[1], targets[run])
    expected = batches.at(3)
    batches.keep([1, 3])
    assert torch.equal(batches.at(3)[0], expected[0][[1, 3]])
    batches.keep([1])
    assert batches.shared
    assert torch.equal(batches.at(3)[1], expected[1][3])


def test_data_is_cast_and_loaded_once() -> None:
    spec = blobs_spec(dtype="float64")
    data = loaded(spec)
    assert data is loaded(spec)
    assert (data.train_inputs.dtype, data.train_targets.dtype) == (torch.float64, torch.int64)
    assert data.classes
    assert not Data(data.train_inputs, data.train_inputs, data.test_inputs, data.test_inputs).classes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_inputs": [1, 2]}, "Data: train_inputs must be a tensor of samples, got list"),
        ({"test_targets": torch.tensor(1)}, r"Data: test_targets must be a tensor of samples, got \(\)"),
        ({"test_inputs": torch.ones(0, 2)}, r"Data: test_inputs must be a tensor of samples, got \(0, 2\)"),
        ({"train_targets": torch.ones(3)}, "Data: train inputs and targets must be as many, got 4 and 3"),
    ],
)
def test_what_is_no_data_is_told(change: dict, message: str) -> None:
    fields = {"train_inputs": torch.ones(4, 2), "train_targets": torch.ones(4), "test_inputs": torch.ones(2, 2),
              "test_targets": torch.ones(2)}  # fmt: skip
    with pytest.raises(SpecError, match=message):
        Data(**{**fields, **change})
