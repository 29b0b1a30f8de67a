import pytest
import torch
from torch import nn

from gainstage.lab.catalogue.normalization.bn_identity import CLAIM
from gainstage.lab.measurements.normalization import bn_identity

SMALL = CLAIM.smoke


def test_both_networks_have_the_same_linear_layers_and_the_batches_differ():
    pair = bn_identity.made(SMALL, "relu", 0)
    for one, two in zip(
        *([m for m in net if isinstance(m, nn.Linear)] for net in (pair.bare, pair.normed)), strict=True
    ):
        assert torch.equal(one.weight, two.weight)
        assert torch.equal(one.bias, two.bias)
    assert not (pair.batch[:, None] == pair.other[None]).all(-1).any()


def test_a_norm_that_is_not_undone_changes_the_output():
    pair = bn_identity.made(SMALL, "relu", 0)
    difference = (pair.normed(pair.batch) - pair.bare(pair.batch)).abs().max()
    assert float(difference.detach()) > 0.01


@pytest.mark.parametrize("corrected", [True, False])
def test_eps_shrinks_one_layer_as_the_formula_says(corrected):
    design = SMALL.__class__(**{**SMALL.__dict__, "depth": 1, "activations": ("linear",)})
    bn_identity.GAINS["linear"] = 1.0
    try:
        pair = bn_identity.made(design, "linear", 0)
    finally:
        del bn_identity.GAINS["linear"]
    bn_identity.undo(pair, 0.5, corrected=corrected)
    with torch.no_grad():
        z, found = pair.bare[0](pair.batch), pair.normed[:2](pair.batch)
    mean, variance = z.mean(0), z.var(0, correction=0)
    # closed_form: γ(z - μ)/√(σ² + ε) + μ
    shrunk = 1.0 if corrected else (variance / (variance + 0.5)).sqrt()
    torch.testing.assert_close(found, mean + shrunk * (z - mean))
