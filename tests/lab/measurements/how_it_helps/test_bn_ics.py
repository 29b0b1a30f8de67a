import copy

import pytest
import torch
import torch.nn.functional as F

from gainstage.lab.apparatus.walk import halts
from gainstage.lab.catalogue.how_it_helps.bn_ics import CLAIM
from gainstage.lab.measurements.how_it_helps.bn_ics import control, measure
from gainstage.lab.measurements.how_it_helps.smoothness import training

SMOKE = CLAIM.smoke


def slow_shift(halt, lr, ahead, own):
    """By the definition: move the layers ahead, and look again."""
    model = copy.deepcopy(halt.model)
    parameters = dict(model.named_parameters())

    def gradients():
        loss = F.cross_entropy(model(halt.batch[0]), halt.batch[1])
        return dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))

    first = gradients()
    with torch.no_grad():
        for name in ahead:
            parameters[name].sub_(lr * first[name])
    second = gradients()
    return sum(float((first[name] - second[name]).square().sum()) for name in own) ** 0.5


@pytest.mark.parametrize(
    ("norm", "ahead", "own"),
    [
        ("none", ["0.weight", "0.bias"], ["2.weight", "2.bias"]),
        ("batch", ["0.weight", "0.bias", "1.weight", "1.bias"], ["3.weight", "3.bias", "4.weight", "4.bias"]),
    ],
)
def test_it_is_the_definition(norm, ahead, own):
    rows = [row for row in measure(SMOKE, 5) if row["norm"] == norm and row["lr"] == 0.1 and row["layer"] == 1]
    for halt, row in zip(halts(training(SMOKE, 5, norm, 0.1)), rows, strict=True):
        assert row["shift"] == pytest.approx(slow_shift(halt, 0.1, ahead, own), rel=1e-3)


def test_the_control_has_the_claims_plain_runs_and_an_idle_norm_that_trains():
    rows = control(SMOKE, 0)
    plain = [row for row in rows if row["norm"] == "none"]
    assert plain == [row for row in measure(SMOKE, 0) if row["norm"] == "none"]
    idle = [row for row in rows if row["norm"] == "frozen"]
    assert {row["lr"] for row in idle} == set(SMOKE.lrs)
    # It computes the same function at the start; its scale and shift add to the gradient.
    assert all(one["shift"] != other["shift"] for one, other in zip(plain, idle, strict=True))
