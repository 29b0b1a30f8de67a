import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.lab.apparatus.residual_stacks import Shape, Stack, Start
from gainstage.lab.measurements.depth.fixup import start
from gainstage.norm import layers
from gainstage.sweep import Data

STARTS = [Start(0.1), Start(0.2, multiplier=0.5), Start(0.1, first=0.1, last=0.0, read_out=0.0)]


def stack(starts, **shape):
    return Stack(Shape(**{"blocks": 3, "maps": 2, "width": 8, **shape}), starts, inputs=6, classes=4, seed=1000)


def samples(count=20):
    draws = torch.Generator().manual_seed(0)
    return torch.randn(count, 6, generator=draws), torch.randint(4, (count,), generator=draws)


def data():
    inputs, targets = samples(60)
    return Data(inputs[:40], targets[:40], inputs[40:], targets[40:])


class FixupBlock(nn.Module):
    """As the paper has it, of gainstage's layers."""

    def __init__(self, width):
        super().__init__()
        maps = [nn.Linear(width, width, bias=False) for _ in range(2)]
        self.branch = nn.Sequential(
            layers.FixupBias(), nn.ReLU(), layers.FixupBias(), maps[0], layers.FixupBias(), nn.ReLU(),
            layers.FixupBias(), maps[1], layers.FixupMultiplier(), layers.FixupBias(),
        )  # fmt: skip

    def forward(self, x):
        return x + self.branch(x)


def fixup_net(blocks, width):
    body = [FixupBlock(width) for _ in range(blocks)]
    ends = [layers.FixupBias(), nn.ReLU(), layers.FixupBias(), nn.Linear(width, 4, bias=False)]
    return nn.Sequential(nn.Linear(6, width, bias=False), *body, *ends)


def test_fixups_start_is_that_of_the_scheme():
    blocks, width = 16, 64
    model, own = fixup_net(blocks, width), stack([start("fixup", 16, 0.1)], blocks=blocks, width=width)
    gs.initialize(model, samples(), scheme="fixup")
    maps = own.parameters["maps"][0].detach()
    theirs = [block.branch[3].weight for block in model if isinstance(block, FixupBlock)]
    assert float(maps[0::2].std()) == pytest.approx(float(torch.stack(theirs).detach().std()), rel=0.02)
    assert not maps[1::2].any()
    assert not own.parameters["leave"].any()
    assert not model[1].branch[7].weight.any()
    assert not model[-1].weight.any()


def test_outputs_are_those_of_the_modules():
    model, own = fixup_net(3, 8), stack([Start(0.1, multiplier=0.7)])
    with torch.no_grad():
        for name, place in (("alpha", 8), ("close", 9)):
            own.parameters[name].add_(0.1)
            for index, block in enumerate(model[1:4]):
                getattr(block.branch[place], "scale" if name == "alpha" else "bias").fill_(
                    float(own.parameters[name][0, index])
                )
        model[0].weight.copy_(own.parameters["enter"][0])
        model[-1].weight.copy_(own.parameters["leave"][0])
        for index, block in enumerate(model[1:4]):
            for place, at in enumerate((3, 7)):
                block.branch[at].weight.copy_(own.parameters["maps"][0, 2 * index + place])
        torch.testing.assert_close(own.outputs(samples()[0], training=True)[0].T, model(samples()[0]))


@pytest.mark.parametrize("normalized", [False, True])
def test_nets_side_by_side_are_those_alone(normalized):
    together = stack(STARTS, normalized=normalized)
    together.train(data(), steps=5, batch_size=16, seed=0)
    for place, one in enumerate(STARTS):
        alone = stack([one], normalized=normalized)
        alone.train(data(), steps=5, batch_size=16, seed=0)
        for name, value in alone.parameters.items():
            torch.testing.assert_close(value[0], together.parameters[name][place], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            alone.outputs(samples()[0], training=False)[0], together.outputs(samples()[0], training=False)[place],
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_a_net_that_overflows_is_at_chance_and_leaves_the_others_alone():
    wild = stack([Start(0.1), Start(1e30)])
    wild.train(data(), steps=5, batch_size=16, seed=0)
    found = wild.accuracies(*samples(200))
    alone = stack([Start(0.1)])
    alone.train(data(), steps=5, batch_size=16, seed=0)
    assert found[1] == 0.25
    assert found[0] == alone.accuracies(*samples(200))[0]


def test_one_step_is_plain_gradient_descent_with_slower_scalars():
    own = stack([Start(0.5)], scalar_rate=0.1)
    before = {name: value.detach().clone() for name, value in own.parameters.items()}
    inputs, targets = samples(16)
    loss = nn.functional.cross_entropy(own.outputs(inputs, training=True)[0].T, targets)
    gradients = dict(zip(own.parameters, torch.autograd.grad(loss, list(own.parameters.values())), strict=True))
    own.train(Data(inputs, targets, inputs, targets), steps=1, batch_size=16, seed=0)
    for name, rate in (("maps", 0.5), ("alpha", 0.05), ("bias", 0.05), ("close", 0.05), ("enter", 0.5)):
        torch.testing.assert_close(own.parameters[name], before[name] - rate * gradients[name])


def test_lost_nets_are_at_chance_however_long_they_are_trained():
    found = []
    for steps in (3, 300):
        lost = stack([Start(1e30)])
        lost.train(data(), steps=steps, batch_size=16, seed=0)
        found.append(lost.accuracies(*samples(200)))
    assert found == [[0.25], [0.25]]
