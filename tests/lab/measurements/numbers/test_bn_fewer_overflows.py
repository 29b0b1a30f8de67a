from dataclasses import replace

from gainstage.lab.catalogue.numbers.bn_fewer_overflows import CLAIM
from gainstage.lab.measurements.numbers.bn_fewer_overflows import measure

DESIGN = replace(CLAIM.designs["quick"], depths=(2, 8), width=128, batch=32, decades=3)


def test_without_norms_the_scale_falls_as_a_root_of_the_range():
    # closed_form: logits are s·a^(L+1), s their largest at a = 1; 65504 = 10^4.82, and s is from 1 to 30 or so
    found = {(row["depth"], row["norm"]): row["log_scale"] for row in measure(DESIGN, 1000)}
    for depth in DESIGN.depths:
        low, high = ((4.82 - size) / (depth + 1) for size in (1.5, 0.0))
        assert low <= found[depth, "none"] <= high + 1 / DESIGN.per_decade
    assert found[8, "none"] < found[2, "none"] < found[8, "batch"]
