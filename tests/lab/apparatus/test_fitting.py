import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.fitting import Training, evaluated, fit, he_started, matched_row
from gainstage.sweep import Data, Spec, execute
from gainstage.sweep.engine.initial import built
from gainstage.sweep.examples import blobs

MLP = "gainstage.lab.apparatus.networks:mlp"
TRAINING = Training(lr=0.1, momentum=0.5, batch_size=16, steps=20)


def started(seed=0, norm="batch"):
    data = blobs()
    return he_started(MLP, {"depth": 1, "width": 8, "norm": norm, "inputs": data.train_inputs.shape[1]}, seed)


def test_training_equals_a_sweeps():
    spec = Spec(
        name="twin",
        model=MLP,
        data=blobs,
        fixed={"depth": 1, "width": 8, "norm": "batch", "inputs": blobs().train_inputs.shape[1], "momentum": 0.5,
               "batch_size": 16, "seed": 3},
        steps=20,
        metrics=("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
    )  # fmt: skip
    (cell,) = spec.cells()
    (row,) = execute(spec, [cell], mode="looped")
    model = built(spec, cell, blobs())
    assert fit(model, blobs(), TRAINING, 3)
    found = evaluated(model, blobs())
    for metric in spec.metrics:
        assert getattr(found, metric) == pytest.approx(row.curves[metric][-1], rel=1e-5)


def test_weights_have_hes_variance_and_no_bias():
    model = he_started(MLP, {"depth": 2, "width": 256}, 0)
    weight = model[2].weight.detach()
    # relative standard error of a variance of n values: √(2/n)
    assert float(weight.var()) == pytest.approx(2 / 256, rel=6 * (2 / 256**2) ** 0.5)
    assert not model[2].bias.any()


def test_the_figures_are_those_of_the_first_look_at_the_level():
    every_look = []
    model = started()

    def prepare(model, data):
        every_look.append(evaluated(model, data))

    row = matched_row(model, blobs(), TRAINING, 0, level=1.0, every=4, prepare=prepare)
    seen = [figures.train_loss <= 1.0 for figures in every_look]
    assert row["reached"]
    assert seen.index(True) == len(seen) - 1 == row["step"] // 4
    assert row["test_accuracy"] == every_look[-1].test_accuracy


@pytest.mark.parametrize("lr", [0.0, 1e12])
def test_a_run_that_never_gets_there_has_the_accuracy_of_chance(lr):
    row = matched_row(started(norm="none"), blobs(), Training(lr, 0.0, 16, 8), 0, level=1e-6, every=4)
    classes = int(blobs().test_targets.max()) + 1
    assert (row["reached"], row["step"], row["test_accuracy"]) == (False, None, 1 / classes)


def test_a_loss_that_is_not_finite_ends_the_training():
    data = Data(torch.full((8, 2), torch.nan), torch.zeros(8).long(), torch.ones(2, 2), torch.zeros(2).long())
    assert not fit(nn.Linear(2, 2), data, Training(0.1, 0.0, 4, 5), 0)


def test_what_a_model_draws_depends_on_the_seed_alone():
    losses = []
    for disturbance in (0, 5):
        torch.rand(disturbance)
        model = nn.Sequential(nn.Dropout(0.5), started())
        fit(model, blobs(), TRAINING, 1)
        losses.append(evaluated(model, blobs()).train_loss)
    assert losses[0] == losses[1]
