import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gainstage.lab.catalogue.normalization.large_init_first_layer import CLAIM
from gainstage.lab.measurements.normalization import large_init_first_layer
from gainstage.lab.measurements.normalization.large_init_first_layer import drawn, gradients

SMALL = CLAIM.smoke


@pytest.mark.parametrize("norms", ["every", "first", "none"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_gradients_are_those_of_torch_s_layers(activation, norms):
    weights, inputs, targets = drawn(SMALL, 0, activation)
    layers = []
    for index, weight in enumerate(weights):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
        layer.weight = nn.Parameter(weight)
        layers.append(layer)
        if index < SMALL.depth:
            if norms == "every" or (norms == "first" and index == 0):
                layers.append(nn.BatchNorm1d(weight.shape[0]).double())
            layers.append({"sigmoid": nn.Sigmoid(), "relu": nn.ReLU()}[activation])
    F.cross_entropy(nn.Sequential(*layers)(inputs), targets).backward()
    expected = [layer.weight.grad for layer in layers if isinstance(layer, nn.Linear)]
    torch.testing.assert_close(gradients(weights, inputs, targets, activation, norms), expected)


def logs(rows, **where):
    return {row["scale"]: row["log_gradient"] for row in rows if all(row[key] == value for key, value in where.items())}


def test_the_control_falls_as_one_over_a():
    # closed_form: ∂/∂(aW) = (1/a) ∂/∂W, up to ε
    found = logs(large_init_first_layer.control(SMALL, 0), activation="sigmoid")
    assert found[100.0] - found[1.0] == pytest.approx(-2, abs=1e-3)


def test_a_relu_network_without_norm_grows_by_a_to_the_layers_behind():
    # closed_form: ReLU layers are homogeneous, so ∂L/∂W₁ at equal ∂L/∂logits is a^depth; the softmax of larger logits
    # changes ∂L/∂logits by a factor that does not grow with a once its probabilities are 0 and 1.
    found = logs(large_init_first_layer.measure(SMALL, 0), activation="relu", norms="none")
    assert found[100.0] - found[10.0] == pytest.approx(SMALL.depth, abs=0.05)


def test_weights_have_the_scheme_s_variance():
    weights, _, targets = drawn(CLAIM.designs["quick"], 0, "relu")
    # Of 4096 values: a scatter of √(2/4096) = 2.2 %.
    assert [float(weight.var()) for weight in weights[:5]] == pytest.approx([2 / 64] * 5, rel=0.1)
    assert float(drawn(CLAIM.designs["quick"], 0, "sigmoid")[0][1].var()) == pytest.approx(1 / 64, rel=0.1)
    assert len(targets) == 256


def test_a_gradient_of_zero_has_no_logarithm():
    row = large_init_first_layer._row("sigmoid", "none", 1.0, 0.0, 1.0)
    assert (row["gradient"], row["log_gradient"], row["log_through"]) == (0.0, None, None)
    assert large_init_first_layer._row("relu", "none", 1.0, math.inf, 1.0)["gradient"] is None
