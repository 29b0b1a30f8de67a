import pytest
import torch
from torch import nn

from gainstage.errors import UnknownNameError
from gainstage.lab.apparatus.drawn_networks import mean_field_mlp, ruled_mlp


def linear(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(("rule", "variance"), [("xavier", 2 / 500), ("he", 2 / 200)])
def test_hidden_weights_have_the_variance_of_the_rule(rule, variance):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = linear(ruled_mlp(1, 300, rule=rule, inputs=200))
    # 60,000 values: the sample variance scatters by 0.6 %
    assert float(layers[0].weight.detach().var()) == pytest.approx(variance, rel=0.03)
    assert all(float(layer.bias.detach().abs().max()) == 0 for layer in layers)
    assert float(layers[-1].weight.detach().var()) == pytest.approx(1 / 300, rel=0.15)


def test_an_unknown_rule():
    with pytest.raises(UnknownNameError, match="he"):
        ruled_mlp(rule="hee")


@pytest.mark.parametrize("skips", [False, True])
def test_mean_field_networks_have_their_variances(skips):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = linear(mean_field_mlp(3, 200, 0.5, skips=skips, inputs=200))
    hidden = layers[:-1]
    assert len(hidden) == (4 if skips else 3)
    assert all(float(layer.weight.detach().var()) == pytest.approx(1 / 200, rel=0.05) for layer in hidden)
    assert float(torch.cat([layer.bias.detach() for layer in hidden]).var()) == pytest.approx(0.5, rel=0.25)
