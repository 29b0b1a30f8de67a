import pytest
import torch
from torch import nn

from gainstage.errors import UnknownNameError
from gainstage.lab.apparatus.draws import drawn
from gainstage.norm.layers import MeanOnlyBatchNorm
from gainstage.seeding import preserved_rng

MLP = "gainstage.lab.apparatus.networks:mlp"


def made(draws="he", norm="none", **options):
    with preserved_rng(0):
        return drawn(MLP, draws, norm, **{"depth": 2, "width": 256, **options})


@pytest.mark.parametrize(("draws", "variance"), [("he", 2 / 256), ("glorot", 2 / (256 + 256))])
def test_weights_have_the_scheme_s_variance_and_biases_are_zero(draws, variance):
    model = made(draws)
    # The sample variance of 65,536 values scatters by √(2/65536) = 0.6 %.
    assert float(model[2].weight.detach().var()) == pytest.approx(variance, rel=0.03)
    assert all(not layer.bias.any() for layer in model if isinstance(layer, nn.Linear))


def test_a_norm_keeps_its_scale():
    assert bool((made(norm="batch")[1].weight == 1).all())


def test_the_norms_share_their_draws():
    weights = [[p for p in made(norm=norm).parameters() if p.dim() == 2] for norm in ("none", "batch", "centered")]
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            assert torch.equal(one, other)


def test_a_norm_that_centers_takes_every_batch_norm_s_place():
    kinds = [type(layer) for layer in made(norm="centered").modules()]
    assert kinds.count(MeanOnlyBatchNorm) == 2
    assert nn.BatchNorm1d not in kinds


def test_unknown_draws_are_named():
    with pytest.raises(UnknownNameError, match="draws"):
        made("hee")
