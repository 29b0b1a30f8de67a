import math
import statistics

import pytest

from gainstage.lab.catalogue.initialization.he_variance import HeDesign, slope_variance
from gainstage.lab.measurements.initialization import he_variance
from gainstage.seeding import generator

NETS = 400
SMALL = HeDesign(seeds=5, width=64, depth=12, nets=1, samples=64)


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_weights_have_the_variance_asked_for(draw):
    found = he_variance.weights(draw, 500, 2 / 500, generator(0, draw))
    # The sample variance of 250,000 values scatters by √(2/250000) = 0.3 % (less for uniform).
    assert float(found.var()) == pytest.approx(2 / 500, rel=0.015)
    if draw == "uniform":
        assert float(found.abs().max()) <= math.sqrt(6 / 500)


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_finite_width_theory_is_right(draw):
    draws = generator(0, "twin", draw)
    curves = [he_variance.log_moments(SMALL, draw, 2 / SMALL.width, draws) for _ in range(NETS)]
    slopes = [he_variance.slope(curve) for curve in curves]
    deviation = math.sqrt(slope_variance(SMALL.width, SMALL.depth))
    # Bias -5/(2n) a layer; its standard error is known, the terms of order 1/n² are a twelfth of it.
    assert statistics.fmean(slopes) == pytest.approx(-SMALL.bias, abs=4 * deviation / math.sqrt(NETS))
    # A variance from NETS values scatters by √(2/NETS) = 7 %; order 1/n² adds 5 %.
    assert statistics.variance(slopes) == pytest.approx(deviation**2, rel=0.33)
    # E[q] itself does not drift: its relative variance after 11 layers is e^{55/64} - 1 = 1.36.
    ratios = [math.exp(curve[-1] - curve[0]) for curve in curves]
    assert statistics.fmean(ratios) == pytest.approx(1.0, abs=4 * math.sqrt(1.4 / NETS))


def test_slope_of_a_line():
    assert he_variance.slope([3.0 - 0.5 * index for index in range(7)]) == pytest.approx(-0.5)
