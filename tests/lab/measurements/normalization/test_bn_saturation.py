import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.data import digits
from gainstage.lab.catalogue.normalization.bn_saturation import CLAIM
from gainstage.lab.measurements.normalization import bn_saturation
from gainstage.lab.measurements.normalization.bn_saturation import made, shares

QUICK, SMALL = CLAIM.designs["quick"], CLAIM.smoke


@pytest.mark.parametrize(("activation", "limit"), [("sigmoid", 2.8872709), ("tanh", 2.1782716)])
def test_units_behind_a_batch_norm_are_saturated_as_normal_values_are(activation, limit):
    # closed_form: φ′ = 0.05 at |z| = ln((1 + √0.8)/(1 - √0.8)), and at artanh √0.95
    exact = (
        math.log((1 + math.sqrt(0.8)) / (1 - math.sqrt(0.8)))
        if activation == "sigmoid"
        else math.atanh(math.sqrt(0.95))
    )
    assert exact == pytest.approx(limit, abs=1e-6)
    inputs = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    found = shares(made(QUICK, 0, activation, "batch", 1.0, digits()), inputs)
    # The first layer's preactivations are normal: 256,000 values, a share p scatters by less than √(p/4000).
    expected = math.erfc(limit / math.sqrt(2))
    assert found[0] == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))
    assert len(found) == QUICK.depth


def test_gamma_saturates_what_batch_norm_spares():
    inputs = digits().train_inputs[:200]
    spared = shares(made(QUICK, 0, "tanh", "batch", 10.0, digits()), inputs)
    gamma = shares(made(QUICK, 0, "tanh", "gamma", 10.0, digits()), inputs)
    # closed_form: P(|10 z| > 2.178) = 0.83 for a standard normal z
    assert max(spared) < 0.1
    assert min(gamma) > 0.7


def test_the_scale_is_that_of_linear_weights_or_of_gamma():
    plain, scaled, gamma = (
        made(SMALL, 0, "tanh", norm, a, digits()) for norm, a in (("batch", 1.0), ("batch", 3.0), ("gamma", 3.0))
    )
    assert torch.equal(3 * plain[0].weight, scaled[0].weight)
    assert torch.equal(plain[0].weight, gamma[0].weight)
    assert bool((gamma[1].weight == 3).all())
    assert bool((scaled[1].weight == 1).all())


def test_a_look_changes_nothing():
    model = made(SMALL, 0, "tanh", "batch", 1.0, digits())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shares(model, digits().train_inputs[:20])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_looks_are_taken_before_training_too():
    design = replace(SMALL, scales=(1.0,))
    rows = [row for row in bn_saturation.measure(design, 0) if row["norm"] == "none" and row["activation"] == "tanh"]
    assert [(row["step"], row["layer"]) for row in rows] == [(0, 1), (0, 2), (3, 1), (3, 2)]
    start = shares(made(design, 0, "tanh", "none", 1.0, digits()), digits().train_inputs[: design.samples])
    assert [row["share"] for row in rows[:2]] == start


def test_only_activations_are_looked_at():
    model = nn.Sequential(nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2))
    assert shares(model, digits().train_inputs[:5]) == []
