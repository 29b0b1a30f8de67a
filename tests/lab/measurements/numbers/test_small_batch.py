import pytest

from gainstage.lab.catalogue.numbers.small_batch import CLAIM
from gainstage.lab.measurements.numbers.small_batch import specification


@pytest.mark.parametrize(("size", "steps", "lr"), [(2, 1400, 0.1 / 16), (32, 86, 0.1)])
def test_epochs_are_equal_and_the_rate_is_in_proportion(size, steps, lr):
    spec = specification(CLAIM.designs["quick"], 0, ("batch",), size)
    (cell,) = spec.cells()
    assert spec.steps == steps
    assert spec.measured == (steps,)
    assert (cell.values["lr"], cell.values["batch_size"]) == (pytest.approx(lr), size)


def test_the_control_is_without_a_norm_at_both_ends(smoke_rows):
    rows = smoke_rows("small-batch", "control")
    assert {(row["norm"], row["batch_size"]) for row in rows} == {("none", 8), ("none", 16)}
    assert all(row["test_error"] == pytest.approx(1 - row["test_accuracy"]) for row in rows)
