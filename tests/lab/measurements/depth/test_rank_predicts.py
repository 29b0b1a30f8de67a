import pytest
from torch import nn

from gainstage.lab.catalogue.depth import rank_predicts
from gainstage.lab.measurements.depth import rank_predicts as rank_measurement
from gainstage.lab.measurements.depth.rank_predicts import _initial, _rank, specification
from gainstage.sweep.data import loaded

QUICK = rank_predicts.CLAIM.designs["quick"]


def test_weights_have_hes_variance():
    model = _initial(specification(QUICK, 1000), "none", 64)
    hidden = [layer.weight.detach() for layer in model if isinstance(layer, nn.Linear)][1:-1]
    mean = sum(float(weight.var()) for weight in hidden) / len(hidden)
    assert mean == pytest.approx(2 / QUICK.width, rel=0.02)


def test_the_rank_falls_with_depth_and_not_with_batch_norm():
    spec = specification(QUICK, 1000)
    inputs = loaded(spec).train_inputs[: QUICK.samples]
    none, batch = (_rank(_initial(spec, net, 32), inputs) for net in ("none", "batch"))
    assert none == pytest.approx(1.0, abs=0.2)
    assert batch > 2


def test_nets_of_one_depth_are_compared_with_each_other():
    rows = rank_measurement.measure(rank_predicts.CLAIM.smoke, 1000)
    smoke = rank_predicts.CLAIM.smoke
    kinds = {(row["net"], row["scale"], row["depth"]) for row in rows if row["kind"] == "net"}
    others = {("none", factor, depth) for factor in smoke.scales for depth in smoke.within}
    assert kinds == others | {("none", 1.0, d) for d in smoke.depths} | {("batch", 1.0, d) for d in smoke.within}


def test_depth_is_taken_out():
    """Rank and accuracy both fall with depth, and against each other at each depth."""
    rows = [
        {"depth": depth, "rank": 10 - depth + 0.1 * net, "accuracy": 0.9 - 0.1 * depth - 0.01 * net}
        for depth in rank_predicts.CLAIM.smoke.within
        for net in range(4)
    ]
    assert rank_measurement._within_row(rows, rank_predicts.CLAIM.smoke)["within"] == pytest.approx(-1.0)
