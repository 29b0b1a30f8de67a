import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.apparatus.noise import ActivationNoise, FrozenFactors, GroupedBatchNorm, grouped, noisy, settle
from gainstage.norm.layers import GhostBatchNorm
from gainstage.seeding import generator
from gainstage.sweep import Data


def values(*shape):
    return 3 + 2 * torch.randn(*shape, generator=generator(0))


@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 3, 2)])
@pytest.mark.parametrize("size", [3, 6, 12])
def test_groups_are_those_of_ghost_batch_norm(shape, size):
    ours, theirs = GroupedBatchNorm(5, size), GhostBatchNorm(5, size)
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.arange(1.0, 6.0))
            norm.bias.copy_(torch.arange(5.0))
    x, y = values(*shape).requires_grad_(), values(*shape).requires_grad_()
    found, expected = ours(x), theirs(y)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-3, rtol=1e-4)


def test_without_a_size_the_whole_batch_is_one_group():
    x = values(12, 5)
    torch.testing.assert_close(GroupedBatchNorm(5, 0)(x), nn.BatchNorm1d(5)(x))


def test_settled_statistics_are_those_of_the_whole_set():
    data = Data(values(24, 5), torch.zeros(24), values(4, 5), torch.zeros(4))
    model = grouped(mlp(2, 8, norm="batch", inputs=5), 4)
    settle(model, data)
    plain = grouped(mlp(2, 8, norm="batch", inputs=5), 0)
    plain.load_state_dict(model.state_dict())
    # Torch's running variance is the unbiased one, 24/23 times what normalized the batch.
    torch.testing.assert_close(model.eval()(data.train_inputs), plain.train()(data.train_inputs), rtol=0.1, atol=0.1)
    assert model[1].settling is False


def test_noise_multiplies_in_training_only():
    noise, x = ActivationNoise(0.5), torch.full((20_000, 1), 2.0)
    torch.manual_seed(0)
    drawn = noise(x)
    # six standard errors of a mean and a standard deviation of 20,000 values
    assert float(drawn.mean()) == pytest.approx(2.0, abs=6 / 20_000**0.5)
    assert float(drawn.std()) == pytest.approx(1.0, abs=6 / 40_000**0.5)
    assert torch.equal(noise.eval()(x), x)


def test_frozen_factors_are_the_same_for_all_samples_and_in_both_modes():
    layer = FrozenFactors(0.5, generator(0))
    first = layer(torch.ones(3, 4))
    assert torch.equal(first[0], first[2])
    assert torch.equal(layer.eval()(torch.ones(3, 4)), first)
    assert first[0].unique().numel() == 4


@pytest.mark.parametrize("frozen", [None, generator(0)])
def test_noise_stands_after_each_relu(frozen):
    found = [type(layer) for layer in noisy(mlp(2, 8), 0.5, frozen)]
    kind = ActivationNoise if frozen is None else FrozenFactors
    assert found == [nn.Linear, nn.ReLU, kind, nn.Linear, nn.ReLU, kind, nn.Linear]
