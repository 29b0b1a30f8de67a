import pytest
import torch
from torch import nn

from gainstage.lab.catalogue.depth import fisher_conditioning
from gainstage.lab.measurements.depth.fisher_conditioning import network, sharpness
from gainstage.seeding import generator

SMOKE = fisher_conditioning.CLAIM.smoke
WIDTH = 8


@pytest.mark.parametrize("place", ["none", "last", "middle", "layer"])
def test_the_eigenvalue_is_that_of_the_explicit_fisher_matrix(place):
    model = network(WIDTH, place, SMOKE, 1000, tanh=False).double()
    inputs = torch.randn(WIDTH, WIDTH, generator=generator(0, "test"), dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]

    def outputs(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (inputs,)).flatten()

    parts = torch.autograd.functional.jacobian(outputs, tuple(p.detach() for p in model.parameters()))
    jacobian = torch.cat([part.flatten(1) for part in parts], 1)
    # Squared error, averaged over samples and outputs, has the Hessian 2/(T·C) by its outputs.
    expected = torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1] * 2 / len(jacobian)
    assert sharpness(model, inputs, SMOKE) == pytest.approx(float(expected), rel=SMOKE.accuracy)


def test_nets_of_a_width_differ_in_their_norms_alone():
    def weights(place):
        layers = network(WIDTH, place, SMOKE, 1000, tanh=False)
        return torch.cat([layer.weight.flatten() for layer in layers if isinstance(layer, nn.Linear)])

    for place in ("last", "middle", "layer"):
        torch.testing.assert_close(weights(place), weights("none"))
