import math

import pytest
import torch
from torch import nn

from gainstage.lab.measurements.normalization.step_size_divergence import log_mean
from gainstage.landscape import step_profile


def test_the_mean_is_geometric():
    assert log_mean([10.0, 1000.0]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("value", "log"), [(math.inf, 38.0), (math.nan, 38.0), (-math.nan, 38.0), (1e300, 38.0), (0.0, -38.0)]
)
def test_what_is_not_finite_counts_as_the_largest(value, log):
    assert log_mean([value, value]) == log


def test_the_profile_is_that_of_a_parabola():
    # closed_form: L = w², g = 2w, L(w - ηg)/L(w) = (1 - 2η)²
    model = nn.Linear(1, 1, bias=False)
    found = step_profile(model, (torch.ones(4, 1), torch.zeros(4, 1)), steps=[0.25, 3.0])
    assert log_mean(found.relative[0][:1]) == pytest.approx(math.log10(0.25), rel=1e-5)
    assert log_mean(found.relative[0][1:]) == pytest.approx(math.log10(25), rel=1e-5)
