import pytest
import torch

from gainstage.lab.apparatus.data import digits
from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.trained_network import trained_network
from gainstage.lab.apparatus.training import trained
from gainstage.sweep import Spec


def test_it_is_the_network_whose_figures_the_sweep_gives():
    spec = Spec(
        name="t", model=mlp, data=digits, fixed={"depth": 2, "width": 16, "norm": "batch", "lr": 0.1}, steps=20,
        measure=(20,), metrics=("test_accuracy",),
    )  # fmt: skip
    network = trained_network(spec, spec.cells()[0]).eval()
    data = digits()
    with torch.no_grad():
        accuracy = float((network(data.test_inputs).argmax(1) == data.test_targets).double().mean())
    assert accuracy == pytest.approx(trained(spec, mode="looped")[0].curves["test_accuracy"][-1], abs=1e-6)
    assert accuracy > 0.5
