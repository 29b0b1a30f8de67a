import numpy as np
import pytest
import torch
from torch import nn

from gainstage.lab.catalogue.how_it_helps.dln_smoothness import CLAIM
from gainstage.lab.measurements.how_it_helps.dln_smoothness import gradient, new_net, run, samples, task

SMOKE = CLAIM.smoke


def on_samples(net, x, matrix, index):
    """One of the nets as torch's functions, its loss over the samples and its gradient."""
    parts = [part.copy() for part in net.parts(net.vectors[index : index + 1])]
    weights, scales, shift = (torch.tensor(part, requires_grad=True) for part in parts)
    h = torch.tensor(x[index])
    for layer in range(net.layers - 1):
        h = h @ weights[layer, 0].T
        # A shift between norms is taken away by the next one: only the last has one here.
        beta = shift[0, 0] if layer == net.layers - 2 else torch.zeros(net.size, dtype=torch.float64)
        if net.kind == "batch":
            h = nn.functional.batch_norm(h, None, None, scales[layer, 0, 0], beta, training=True)
        elif net.kind == "fixed":
            h = h * scales[layer, 0, 0]
    loss = (h @ weights[-1, 0].T - torch.tensor(x[index] @ matrix[index].T)).square().sum()
    loss.backward()
    parts = [part.grad if part.grad is not None else torch.zeros_like(part) for part in (weights, scales, shift)]
    return float(loss.detach()), torch.cat([part.flatten() for part in parts]).numpy()


@pytest.mark.parametrize("kind", ["none", "batch", "fixed"])
def test_moments_are_all_that_a_linear_net_sees(kind):
    x, matrix = samples(SMOKE, 1)
    net = new_net(SMOKE, 1, kind)
    net.vectors += 0.1 * np.random.default_rng(0).normal(size=net.vectors.shape)
    losses, found = gradient(net, net.vectors, task(x, matrix, centred=kind == "batch"))
    for index in range(SMOKE.nets):
        expected, slope = on_samples(net, x, matrix, index)
        assert losses[index] == pytest.approx(expected, rel=1e-9)
        assert found[index] == pytest.approx(slope, rel=1e-8, abs=1e-8 * np.abs(slope).max())


def test_an_idle_norm_starts_as_none_does_and_learns_its_scales():
    x, matrix = samples(SMOKE, 2)
    plain, idle = new_net(SMOKE, 2, "none"), new_net(SMOKE, 2, "fixed")
    problem = task(x, matrix, centred=False)
    first, second = gradient(plain, plain.vectors, problem), gradient(idle, idle.vectors, problem)
    assert first[0] == pytest.approx(second[0])
    assert np.all(idle.parts(second[1])[1] != 0)
    assert not np.any(plain.parts(first[1])[1])


@pytest.mark.parametrize("kind", ["none", "batch", "fixed"])
def test_gradient_descent_goes_down(kind):
    for net in range(SMOKE.nets):
        losses = [row["loss"] for row in run(SMOKE, 0, kind, SMOKE.steps) if row["net"] == net]
        assert losses == sorted(losses, reverse=True)
