from dataclasses import replace

import pytest
import torch

from gainstage.lab.apparatus.fitting import he_started
from gainstage.lab.catalogue.normalization.inits_converge import CLAIM
from gainstage.lab.measurements.normalization.inits_converge import disagreement, measure

QUICK = CLAIM.designs["quick"]


def test_disagreement_is_the_mean_over_pairs():
    classes = [torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 0, 0])]
    assert disagreement(classes, 0.9) == pytest.approx((1 / 4 + 3 / 4 + 2 / 4) / 3)
    assert disagreement([*classes[:2], None], 0.9) == pytest.approx((1 / 4 + 0.9 + 0.9) / 3)


def test_what_never_reaches_the_loss_disagrees_by_chance():
    design = replace(CLAIM.smoke, rates=(1e30,), steps=3, level=0.0)
    bare = measure(design, 0)[0]
    assert (bare["norm"], bare["train_loss"], bare["missed"]) == ("none", None, 2)
    assert bare["disagreement"] == pytest.approx(0.9)
    assert bare["accuracy"] == pytest.approx(0.1)


def test_a_rate_that_diverges_is_not_chosen():
    design = replace(QUICK, rates=(0.3, 1e30), steps=60, level=1.0, nets=2)
    bare = measure(design, 0)[0]
    assert (bare["norm"], bare["rate"], bare["missed"]) == ("none", 0.3, 0)
    assert 0.5 < bare["train_loss"] <= 1.0


def test_the_rate_that_gets_there_first_is_chosen_in_any_order():
    designs = [replace(QUICK, rates=rates, level=0.5, nets=2) for rates in ((0.02, 0.3), (0.3, 0.02))]
    first, again = (measure(design, 0) for design in designs)
    assert first == again
    assert {row["rate"] for row in first} == {0.3}


def test_the_control_has_the_parameters_of_batch_norm_and_normalizes_nothing():
    bare, false = (he_started(QUICK.network, {**dict(QUICK.options), "norm": norm}, 0) for norm in ("none", "affine"))
    inputs = torch.randn(8, 64)
    assert torch.equal(bare(inputs), false(inputs))
    assert sum(1 for _ in false.parameters()) == sum(1 for _ in bare.parameters()) + 2 * 4
