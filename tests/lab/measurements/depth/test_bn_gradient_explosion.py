import math
from dataclasses import replace

import pytest

from gainstage.lab.catalogue.depth import bn_gradient_explosion
from gainstage.lab.measurements.depth.bn_gradient_explosion import Net, log_gradients, net_rows
from gainstage.theory.gradients import batch_norm_gradient_factor
from gainstage.theory.registry import activation

QUICK = bn_gradient_explosion.CLAIM.designs["quick"]
SMALL = replace(QUICK, width=256, depth=20)


@pytest.mark.parametrize(("net", "act", "batch"), [("relu", "relu", 32), ("linear", "identity", 8)])
def test_the_growth_is_that_of_the_theory_for_this_batch_size(net, act, batch):
    rows = net_rows(SMALL, 1000, net, Net(batch, rectified=act == "relu"))
    # closed_form for B samples; one net of width 256 leaves a few in a hundred
    assert rows[0]["factor"] == pytest.approx(batch_norm_gradient_factor(activation(act), batch), rel=0.05)


def test_the_scale_of_weights_matters_without_a_norm_alone():
    normed, scaled = (log_gradients(SMALL, 1000, Net(32, scale=scale)) for scale in (1.0, 2.0))
    assert abs(scaled[5] - normed[5]) < 3  # other draws
    bare = log_gradients(SMALL, 1000, Net(32, normalized=False, scale=2.0))
    # closed_form: a layer multiplies squared gradients by c² = 4
    assert (bare[2] - bare[17]) / 15 == pytest.approx(math.log(4), abs=0.3)
