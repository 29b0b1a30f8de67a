from gainstage.lab.catalogue.normalization.bn_placement import CLAIM
from gainstage.lab.measurements.normalization import bn_placement


def test_without_activations_the_places_are_one_network():
    rows = bn_placement.control(CLAIM.smoke, 0)
    before, after = (
        [{**row, "placement": ""} for row in rows if row["placement"] == place] for place in bn_placement.PLACES
    )
    assert before == after


def test_with_relu_they_are_two():
    runs = [row for row in bn_placement.measure(CLAIM.smoke, 0) if row["kind"] == "run"]
    before, after = (
        [row["train_accuracy"] for row in runs if row["placement"] == place] for place in bn_placement.PLACES
    )
    assert before != after
