import pytest
from torch import nn

from gainstage.lab.catalogue.depth import rank_predicts
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
    none, batch = (_rank(_initial(spec, net, 64), inputs) for net in ("none", "batch"))
    assert none == pytest.approx(1.0, abs=0.2)
    assert batch > 2
