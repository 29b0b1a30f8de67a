import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.plain_convnets import KERNELS, circular, circular_transposed, delta_kernel, plain_cnn
from gainstage.seeding import generator


@pytest.mark.parametrize("draw", KERNELS)
def test_the_gradient_is_that_of_autograd(draw):
    draws = generator(0, draw)
    kernel = KERNELS[draw](3, 1.0, draws)
    pictures, top = torch.randn(2, 1, 3, 5, 5, generator=draws)
    pictures = pictures.requires_grad_()
    (expected,) = torch.autograd.grad(circular(pictures, kernel), pictures, top)
    assert torch.allclose(circular_transposed(top, kernel), expected, atol=1e-6)


def test_a_delta_kernel_keeps_the_norm_of_every_pixel():
    draws = generator(0)
    pictures = torch.randn(1, 8, 5, 5, generator=draws)
    found = circular(pictures, delta_kernel(8, 4.0, draws))
    assert torch.allclose(found.norm(dim=1), 2 * pictures.norm(dim=1), rtol=1e-4)


def test_a_gaussian_kernel_has_the_variance_asked_for():
    kernel = KERNELS["gaussian"](100, 2.0, generator(0))
    # 90,000 values: the sample variance scatters by 0.5 %
    assert float(kernel.var()) == pytest.approx(2.0 / 900, rel=0.02)


@pytest.mark.parametrize("draw", KERNELS)
def test_the_network_has_the_depth_and_is_drawn_from_torch_s_generator(draw):
    def made(seed):
        torch.manual_seed(seed)
        return plain_cnn(3, 4, draw, 1.05, 1e-4)

    with torch.random.fork_rng():
        first, again, other = made(0), made(0), made(1)
    assert sum(isinstance(layer, nn.Conv2d) for layer in first) == 4
    assert first(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert torch.equal(first[2].weight, again[2].weight)
    assert not torch.equal(first[2].weight, other[2].weight)
