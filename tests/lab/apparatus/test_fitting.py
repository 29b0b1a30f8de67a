import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gainstage.lab.apparatus.fitting import Training, accuracy, fit, he_started, matched_row, outputs
from gainstage.sweep import Data, Spec, execute
from gainstage.sweep.engine.initial import built
from gainstage.sweep.examples import blobs

MLP = "gainstage.lab.apparatus.networks:mlp"
TRAINING = Training(lr=0.1, momentum=0.5, batch_size=16, steps=20)


def started(seed=0, norm="batch"):
    data = blobs()
    return he_started(MLP, {"depth": 1, "width": 8, "norm": norm, "inputs": data.train_inputs.shape[1]}, seed)


def scores(model, data):
    said = outputs(model, data.train_inputs), outputs(model, data.test_inputs)
    return {
        "train_loss": float(F.cross_entropy(said[0], data.train_targets)),
        "train_accuracy": accuracy(said[0], data.train_targets),
        "test_loss": float(F.cross_entropy(said[1], data.test_targets)),
        "test_accuracy": accuracy(said[1], data.test_targets),
    }


def test_training_equals_a_sweeps():
    options = {"depth": 1, "width": 8, "norm": "batch", "inputs": blobs().train_inputs.shape[1]}
    spec = Spec(
        name="twin",
        model=MLP,
        data=blobs,
        fixed={**options, "momentum": 0.5, "batch_size": 16, "seed": 3},
        steps=20,
        metrics=("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
    )
    (cell,) = spec.cells()
    (row,) = execute(spec, [cell], mode="looped")
    model = built(spec, cell, blobs())
    assert fit(model, blobs(), TRAINING, 3)
    assert scores(model, blobs()) == pytest.approx({name: row.curves[name][-1] for name in spec.metrics}, rel=1e-5)


def test_weights_have_hes_variance_and_no_bias():
    model = he_started(MLP, {"depth": 2, "width": 256}, 0)
    weight = model[2].weight.detach()
    # relative standard error of a variance of n values: √(2/n)
    assert float(weight.var()) == pytest.approx(2 / 256, rel=6 * (2 / 256**2) ** 0.5)
    assert not model[2].bias.any()


def test_the_figures_are_those_of_the_first_look_at_the_level():
    looks = []

    def prepare(model, data):
        looks.append(scores(model, data))

    row = matched_row(started(), blobs(), TRAINING, 0, level=1.0, every=4, prepare=prepare)
    assert [look["train_loss"] <= 1.0 for look in looks].index(True) == len(looks) - 1 == row["step"] // 4
    assert row == pytest.approx({"reached": True, "step": row["step"], **looks[-1]})


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
        losses.append(scores(model, blobs())["train_loss"])
    assert losses[0] == losses[1]
