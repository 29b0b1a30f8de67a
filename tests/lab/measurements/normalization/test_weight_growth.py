from dataclasses import replace

import pytest
import torch

from gainstage.lab.catalogue.normalization.weight_growth import CLAIM
from gainstage.lab.measurements.normalization import weight_growth
from gainstage.lab.measurements.normalization.weight_growth import Run

SMALL = replace(CLAIM.smoke, scales=(0.5, 1.0))


def test_runs_of_a_seed_share_weights_and_batches():
    one, other = Run(SMALL, 3, "batch", 1.0), Run(SMALL, 3, "none", 0.5)
    for first, second in zip(one.hidden, other.hidden, strict=True):
        assert torch.equal(0.5 * first, second)
    assert one.gradient()[0].shape == other.gradient()[0].shape == one.hidden[0].shape


def test_the_read_out_is_not_among_the_hidden_weights():
    assert [tuple(weight.shape) for weight in Run(SMALL, 0, "batch", 1.0).hidden] == [(8, 64), (8, 8)]


def test_a_step_is_that_of_torch_s_sgd():
    ours, theirs = Run(SMALL, 0, "batch", 1.0), Run(SMALL, 0, "batch", 1.0)
    optimizer = torch.optim.SGD(theirs._model.parameters(), lr=SMALL.lr)
    for _ in range(3):
        ours.gradient()
        ours.step()
        theirs.gradient()
        optimizer.step()
    for one, other in zip(ours.hidden, theirs.hidden, strict=True):
        torch.testing.assert_close(one, other)


def test_lengths_add_up_with_batch_norm_only():
    found = [row for row in weight_growth.measure(SMALL, 0) if row["kind"] == "net"]
    bare = [row for row in weight_growth.control(SMALL, 0) if row["kind"] == "net"]
    assert max(row["length_error"] for row in found) < 1e-13
    assert [row["scale"] for row in bare] == [1.0, 1.0]
    assert bare[-1]["length_error"] > 1e-4


def test_a_relu_network_s_gradient_grows_with_its_weights():
    # closed_form: with two bias-free hidden layers at 10 the first's gradient grows 10-fold at equal ∂L/∂logits;
    # the softmax of larger logits changes that by a bounded factor.
    (row,) = [
        row
        for row in weight_growth.control(replace(SMALL, scales=(1.0, 10.0)), 0)
        if row["scale"] == 10.0 and row["kind"] == "net"
    ]
    assert row["log_gradient"] == pytest.approx(1.0, abs=0.5)


def test_a_point_of_the_figure_every_few_steps():
    steps = [row["step"] for row in weight_growth.measure(SMALL, 0) if row["kind"] == "step" and row["scale"] == 1.0]
    assert steps == [0, 5]
