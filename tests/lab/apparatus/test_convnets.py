import pytest
import torch
from torch import nn

from gainstage.errors import InputError, UnknownNameError
from gainstage.lab.apparatus.convnets import PICTURE_NORMS, ConvBlock, resnet, vgg
from gainstage.lab.apparatus.data import color_noise
from gainstage.seeding import preserved_rng
from gainstage.sweep import Spec, execute

HOME = "gainstage.lab.apparatus"
BUILDERS = {"vgg": lambda norm: vgg(norm, width=8), "resnet": lambda norm: resnet(8, norm, width=8)}


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("norm", ["none", *PICTURE_NORMS])
def test_every_norm_gives_finite_outputs_and_gradients(builder, norm):
    with preserved_rng(0):
        model = BUILDERS[builder](norm)
        outputs = model(torch.randn(4, 3, 32, 32))
    outputs.square().sum().backward()
    assert outputs.shape == (4, 10)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_vgg_has_ten_convolutions_and_five_halvings():
    model = vgg()
    widths = [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    assert [conv.out_channels for conv in convolutions(model)] == widths
    assert sum(isinstance(module, nn.MaxPool2d) for module in model) == 5
    kinds = [type(module).__name__ for module in model[:3]]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"]


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (56, 0.85), (110, 1.7)])
def test_resnet_has_the_published_number_of_parameters(depth, millions):
    # paper: He et al. 2016, table 6
    model = resnet(depth)
    found = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(found, 2 if millions < 1 else 1) == millions
    assert len(convolutions(model)) + 1 == depth


def test_the_same_seed_draws_the_same_weights_for_every_norm():
    with preserved_rng(3):
        bare = resnet(8, "none")
    with preserved_rng(3):
        normed = resnet(8, "batch")
    for first, second in zip(convolutions(bare), convolutions(normed), strict=True):
        assert torch.equal(first.weight, second.weight)


def test_a_shortcut_takes_every_second_position_and_fills_with_zeros():
    block = ConvBlock(2, 4, 2, "none")
    for conv in convolutions(block):
        nn.init.zeros_(conv.weight)
    x = torch.rand(1, 2, 8, 8)
    y = block(x)
    assert torch.equal(y[:, :2], x[..., ::2, ::2])
    assert not y[:, 2:].any()


def test_depths_and_norms_that_there_are_not():
    with pytest.raises(InputError, match=r"6n \+ 2 with n ≥ 1, got 9"):
        resnet(9)
    with pytest.raises(UnknownNameError, match="norm must be a known one, got 'bach'"):
        vgg("bach")


@pytest.mark.parametrize(("model", "fixed"), [("vgg", {"width": 4}), ("resnet", {"depth": 8, "width": 4})])
def test_they_learn_color_noise_in_a_sweep(model, fixed):
    spec = Spec(
        name="t", model=f"{HOME}.convnets:{model}", data=color_noise, axes={"norm": ("none", "batch")},
        fixed={**fixed, "optimizer": "adam", "lr": 0.01, "batch_size": 32}, steps=12, measure=12,
        metrics=("train_loss",),
    )  # fmt: skip
    found = {row.values["norm"]: row for row in execute(spec, spec.cells(), mode="looped")}
    assert all(row.error is None for row in found.values())
    assert found["batch"].curves["train_loss"][-1] < found["batch"].curves["train_loss"][0] - 0.2
