"""The figures of the confrontations against closed forms and the probes of `gainstage.landscape`."""

import math

import pytest
import torch
from torch.nn import functional as F

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.stepping import batches, initialized, sgd_step
from gainstage.lab.catalogue.confrontations.exploding_gradients import FACTOR, ExplosionDesign
from gainstage.lab.catalogue.confrontations.why_it_works import CONFRONTATION
from gainstage.lab.measurements.confrontations.exploding_gradients import measure
from gainstage.lab.measurements.confrontations.initial_weights import way
from gainstage.lab.measurements.confrontations.two_shifts import gradient_shift, layer_inputs, movement
from gainstage.lab.measurements.confrontations.why_it_works import branch_share, turned
from gainstage.landscape import covariate_shift


def trained_a_little(norm, seed=0):
    data, model = digits(), initialized(mlp(4, 32, "relu", norm), seed)
    for inputs, targets in batches(data, seed, 64, 5):
        sgd_step(model, inputs, targets, 0.1)
    return model, next(batches(data, seed + 1, 64, 1))


@pytest.mark.slow
def test_growth_is_that_of_theory():
    # closed_form: ln(π/(π-1)) a layer with batch norm; 2 ln a without
    design = ExplosionDesign(seeds=1, depth=16, width=512, batch=64, scales=(0.7, 1.0), skipped=3)
    found = {(row["norm"], row["scale"]): row["slope"] for row in measure(design, 0) if row["kind"] == "net"}
    assert found["none", 0.7] - found["none", 1.0] == pytest.approx(2 * math.log(0.7), abs=1e-6)
    assert found["batch", 1.0] == pytest.approx(math.log(FACTOR), abs=0.12)
    assert found["batch", 0.7] == pytest.approx(found["batch", 1.0], abs=1e-3)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_gradients_shift_is_that_of_the_probe(norm):
    model, (inputs, targets) = trained_a_little(norm)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    place = next(place for place in range(6, len(model)) if hasattr(model[place], "in_features"))
    ours = gradient_shift(model, place, inputs, targets, 0.1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    # The probe takes a layer's bias, and its norm's γ and β, with its weight: equal where there are none of these.
    probe = covariate_shift(model, (inputs, targets), F.cross_entropy, lr=0.1, layers=[str(place)]).layers[0]
    assert ours == pytest.approx(probe.relative, rel=0.15)


def test_looking_at_inputs_leaves_running_statistics():
    model, (inputs, _) = trained_a_little("batch")
    before = model[1].running_mean.clone()
    layer_inputs(model, 3, inputs)
    assert torch.equal(model[1].running_mean, before)


def test_movement_is_in_standard_deviations():
    draws = torch.Generator().manual_seed(0)
    before = torch.randn(5000, 3, generator=draws) * torch.tensor([1.0, 10.0, 0.0])
    assert movement(before, before + torch.tensor([0.5, 5.0, 100.0])) == pytest.approx(0.5, rel=0.05)
    assert math.isnan(movement(torch.zeros(4, 2), torch.ones(4, 2)))


def test_the_way_to_a_ray_forgets_the_length():
    before, after = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    assert way(before, after, rays=False) == pytest.approx(4 + 9)
    # The first row's ray runs through it; the second's points away, and its nearest point is zero.
    assert way(before, after, rays=True) == pytest.approx(4.0)


def test_doubled_weights_turn_no_gradient_behind_batch_norm():
    smoke = CONFRONTATION.smoke
    assert turned(smoke, 0, "batch") < 1e-4
    assert turned(smoke, 0, "none") > 1e-3


def test_a_branch_behind_batch_norm_is_small_beside_a_deep_stream():
    smoke = CONFRONTATION.smoke
    assert branch_share(smoke, 0, "batch") < branch_share(smoke, 0, "none")
