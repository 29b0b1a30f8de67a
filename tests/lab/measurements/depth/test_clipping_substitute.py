from gainstage.lab.catalogue.depth.clipping_substitute import CLAIM
from gainstage.lab.measurements.depth import clipping_substitute


def test_every_variant_that_is_judged_is_summed_up():
    rows = clipping_substitute.measure(CLAIM.smoke, 0)
    found = {(row["variant"], row["scale"]) for row in rows if row["kind"] == "summary"}
    large = {(variant, CLAIM.smoke.large) for variant in ("none", "clip", "batch")}
    assert found == large | {(variant, CLAIM.smoke.small) for variant in ("clip", "batch")}


def test_the_control_has_hes_own_weights():
    rows = clipping_substitute.control(CLAIM.smoke, 0)
    assert {row["scale"] for row in rows} == {1.0}
