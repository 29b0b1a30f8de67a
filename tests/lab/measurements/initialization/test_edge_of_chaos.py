import pytest

from gainstage.lab.catalogue.initialization.edge_of_chaos import CLAIM
from gainstage.lab.measurements.initialization.edge_of_chaos import control, measure, six_depth_scales


# closed_form: depth scales of tanh at σ_b² = 0.05, computed apart from the package
@pytest.mark.parametrize(("weight_var", "scale"), [(1.0, 3.6), (1.3, 7.8), (2.5, 11.8), (4.0, 7.0)])
def test_six_depth_scales(weight_var, scale):
    assert six_depth_scales(weight_var, 0.05) == pytest.approx(6 * scale, abs=0.4)


def test_every_cell_has_its_own_variance():
    rows = measure(CLAIM.smoke, 0)
    assert [(row["depth"], row["weight_var"]) for row in rows] == [
        (depth, weight_var) for depth in CLAIM.smoke.depths for weight_var in CLAIM.smoke.weight_vars
    ]
    assert len({row["accuracy"] for row in rows}) > 1
    assert {row["depth"] for row in control(CLAIM.smoke, 0)} == {CLAIM.smoke.depths[-1]}
