from dataclasses import replace

import pytest
import torch

from gainstage.lab.catalogue.normalization.inits_converge import CLAIM
from gainstage.lab.measurements.normalization.inits_converge import disagreement, measure


def test_disagreement_is_the_mean_over_pairs():
    classes = [torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 0, 0])]
    assert disagreement(classes) == pytest.approx((1 / 4 + 3 / 4 + 2 / 4) / 3)


def test_what_diverged_at_every_rate_agrees_by_chance():
    design = replace(CLAIM.smoke, rates=(1e30,), steps=3, network="gainstage.lab.apparatus.convnets:vgg")
    bare = measure(design, 0)[0]
    assert (bare["norm"], bare["train_loss"]) == ("none", None)
    assert bare["disagreement"] == pytest.approx(0.9)
    assert bare["accuracy"] == pytest.approx(0.1)


def test_a_rate_that_diverges_is_not_chosen():
    design = replace(CLAIM.smoke, rates=(0.01, 1e30), steps=3)
    bare = measure(design, 0)[0]
    assert (bare["norm"], bare["rate"]) == ("none", 0.01)
    assert bare["train_loss"] < 10
