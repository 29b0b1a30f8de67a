import pytest
import torch
from torch import nn

from gainstage.lab.apparatus.at_start import at_start, batches, placed
from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.draws import SMALL_BRANCH, ZERO_BRANCH, drawn
from gainstage.lab.apparatus.imposters import Affine
from gainstage.lab.catalogue.designs import DIGITS, PLAIN, RESIDUAL, Net
from gainstage.lab.catalogue.normalization import channel_moments_depth, gradient_alignment, step_size_divergence
from gainstage.seeding import preserved_rng

NET = Net("MLP-2", PLAIN, (("depth", 2), ("width", 256)))


def weights(model):
    return [module.weight for module in model.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize(("init", "gain"), [("he", 2.0), ("torch", 1 / 3)])
def test_the_variance_of_the_draws(init, gain):
    found = weights(at_start(NET, "none", init, 0, data=placed(DIGITS, "cpu")))[1].detach()
    # closed_form: gain/fan_in; 256² values, so within 5 standard errors of about √2/256
    assert float(found.var()) * 256 == pytest.approx(gain, rel=0.03)


def test_a_network_depends_on_its_seed_alone():
    data = placed(DIGITS, "cpu")
    first = at_start(NET, "none", "he", 0, data=data)
    torch.rand(3)
    again, other = at_start(NET, "none", "he", 0, data=data), at_start(NET, "none", "he", 1, data=data)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(weights(first)[0], weights(other)[0])


def test_the_norm_changes_no_weight():
    data = placed(DIGITS, "cpu")
    none, batch = (weights(at_start(NET, norm, "he", 0, data=data)) for norm in ("none", "batch"))
    assert all(torch.equal(a, b) for a, b in zip(none, batch, strict=True))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_branches_that_start_at_zero_give_nothing(norm):
    data = placed(DIGITS, "cpu")
    model = at_start(Net("", RESIDUAL, (("blocks", 2),)), norm, ZERO_BRANCH, 0, data=data)
    x = torch.randn(4, 64)
    assert torch.equal(model[1](x), x)


def test_the_catalogue_names_the_same_start():
    assert {home.CONTROL_INIT for home in (gradient_alignment, step_size_divergence)} == {ZERO_BRANCH}
    assert channel_moments_depth.CONTROL_INIT == SMALL_BRANCH


def test_small_branches_are_those_of_he_over_the_root_of_their_number():
    found = list[list[torch.Tensor]]()
    for init in ("he", SMALL_BRANCH):
        with preserved_rng(0):
            found.append(weights(drawn(RESIDUAL, init, blocks=4)))
    # The first map, two of each block, the read-out: the second of each block is scaled.
    factors = [1.0, *[1.0, 0.5] * 4, 1.0]
    assert all(torch.equal(he * factor, small) for he, small, factor in zip(*found, factors, strict=True))


def test_the_affine_part_alone_is_the_identity_at_first():
    model = drawn(PLAIN, "he", "affine", depth=2, width=4)
    affine = [module for module in model.modules() if isinstance(module, Affine)]
    x = torch.randn(3, 4, 2, 2)
    assert len(affine) == 2
    assert torch.equal(affine[0](x), x)


def test_batches_have_no_sample_in_common():
    data = placed(DIGITS, "cpu")
    found = batches(data, 3, 16, 0)
    inputs = torch.cat([inputs for inputs, _ in found])
    assert len(inputs) == 48
    assert len(torch.unique(inputs, dim=0)) == 48


def test_auto_is_a_gpu_where_there_is_one():
    assert device_of("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu") == "cpu"
