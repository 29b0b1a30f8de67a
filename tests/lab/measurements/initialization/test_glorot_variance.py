import math
import statistics

import pytest

from gainstage.lab.catalogue.initialization.glorot_variance import GlorotDesign
from gainstage.lab.catalogue.initialization.he_variance import slope_variance
from gainstage.lab.measurements.initialization import glorot_variance
from gainstage.lab.measurements.initialization.glorot_variance import Case
from gainstage.lab.measurements.initialization.he_variance import slope

NETS = 300
WIDTH, DEPTH = 48, 10
SMALL = GlorotDesign(seeds=5, width=WIDTH, depth=DEPTH, nets=1)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_finite_width_theory_is_right(direction):
    case = Case("twin", (WIDTH,) * (DEPTH + 1), input_rms=0.01)
    slopes = [slope(glorot_variance.levels(case, 0, net)[direction]) for net in range(NETS)]
    deviation = math.sqrt(slope_variance(WIDTH, DEPTH, scatter=2.0))
    assert statistics.fmean(slopes) == pytest.approx(-SMALL.bias, abs=4 * deviation / math.sqrt(NETS))
    # A variance from NETS values scatters by √(2/NETS) = 8 %.
    assert statistics.variance(slopes) == pytest.approx(deviation**2, rel=0.33)


def test_linear_layers_of_alternating_width_lose_a_ninth_in_two():
    case = Case("twin", (600, 300, 600, 300, 600), activation="linear")
    # closed_form: 2n_in/(n_in + n_out) is 4/3 from 600 to 300, and 2/3 back; a step scatters by √(2/300) = 8 %
    nets = [glorot_variance.levels(case, 0, net)["forward"] for net in range(20)]
    steps = [statistics.fmean(net[layer + 1] - net[layer] for net in nets) for layer in range(3)]
    assert steps == pytest.approx([math.log(2 / 3), math.log(4 / 3), math.log(2 / 3)], abs=4 * 0.08 / math.sqrt(20))


def test_layers_are_numbered_from_the_input_in_both_directions():
    rows = [row for row in glorot_variance.control(SMALL, 0) if row["kind"] == "layer"]
    first = {row["direction"]: row["layer"] for row in reversed(rows) if row["level"] == 1.0}
    assert first == {"forward": 1, "distance": 1, "backward": DEPTH}
