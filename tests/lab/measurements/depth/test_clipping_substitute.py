from gainstage.lab.catalogue.depth.clipping_substitute import CLAIM
from gainstage.lab.measurements.depth import clipping_substitute


def test_every_variant_is_summed_up_at_every_scale():
    rows = clipping_substitute.measure(CLAIM.smoke, 0)
    found = {(row["variant"], row["scale"]) for row in rows if row["kind"] == "summary"}
    scales = (CLAIM.smoke.small, CLAIM.smoke.large)
    assert found == {(variant, scale) for variant in ("none", "clip", "batch") for scale in scales}


def test_the_control_has_hes_own_weights():
    rows = clipping_substitute.control(CLAIM.smoke, 0)
    assert {row["scale"] for row in rows} == {1.0}
