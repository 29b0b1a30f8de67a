from gainstage.lab.catalogue.depth.clipping_substitute import CLAIM
from gainstage.lab.measurements.depth import clipping_substitute


def test_every_variant_is_summed_up_at_every_scale():
    rows = clipping_substitute.measure(CLAIM.smoke, 0)
    found = {(row["variant"], row["scale"]) for row in rows if row["kind"] == "summary"}
    scales = (CLAIM.smoke.small, 1.0, CLAIM.smoke.large)
    assert found == {(variant, scale) for variant in ("none", "clip", "batch") for scale in scales}


def test_an_overflow_is_a_divergence_that_clipping_does_not_mend():
    runs = [row for row in clipping_substitute.control(CLAIM.smoke, 0) if row["kind"] == "run"]
    assert all(row["diverged"] for row in runs)
    assert {row["test_accuracy"] for row in runs} == {0.1}
