import math

import pytest

from gainstage.lab.catalogue.initialization.mismatch_decay import MismatchDesign
from gainstage.lab.measurements.initialization import mismatch_decay

SMALL = MismatchDesign(seeds=2, width=32, depth=6, nets=1, scales=(0.5, 2.0))


@pytest.mark.parametrize("scale", [0.5, 0.9, 3.0])
def test_a_scale_on_given_weights_is_exact(scale):
    # closed_form: relu(cz) = c relu(z), so q_l changes by c^2l, whatever the draw
    plain = mismatch_decay.log_moments(SMALL, 2 / 32, 0, "twin")
    scaled = mismatch_decay.log_moments(SMALL, scale**2 * 2 / 32, 0, "twin")
    gains = [b - a for a, b in zip(plain, scaled, strict=True)]
    assert gains == pytest.approx([2 * layer * math.log(scale) for layer in range(1, 7)], abs=1e-10)


def test_scales_have_draws_of_their_own():
    rows = [row for row in mismatch_decay.measure(SMALL, 0) if row["kind"] == "slope"]
    drifts = [row["slope"] - 2 * math.log(row["scale"]) for row in rows if row["case"] == "he"]
    assert abs(drifts[0] - drifts[1]) > 1e-6
    assert {(row["case"], row["scale"]) for row in rows} == {("xavier", 1.0), ("he", 0.5), ("he", 2.0)}
