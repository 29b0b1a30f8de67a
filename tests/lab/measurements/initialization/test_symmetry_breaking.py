import pytest
import torch

from gainstage.lab.measurements.initialization.symmetry_breaking import asymmetry, distinct_rows, initial, rank
from gainstage.seeding import generator


def test_equal_rows_are_one_unit_of_rank_one():
    weight = initial("equal", (6, 4), generator(0))
    assert (asymmetry(weight), distinct_rows(weight, 1e-6), rank(weight, 1e-6)) == (0.0, 1, 1)


@pytest.mark.parametrize("case", ["cosine", "random"])
def test_other_starts_have_distinct_units(case):
    weight = initial(case, (6, 8), generator(0))
    assert distinct_rows(weight, 1e-6) == rank(weight, 1e-6) == 6
    # closed_form: orthonormal rows are √2 apart
    if case == "cosine":
        assert torch.allclose(weight @ weight.T, torch.eye(6, dtype=torch.float64))
        assert asymmetry(weight) == pytest.approx(2**0.5)


def test_groups_of_rows_are_counted_up_to_the_tolerance():
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1e-9], [1.0, 1e-3]]).double()
    assert distinct_rows(weight, 1e-6) == 3
    assert distinct_rows(weight, 1e-2) == 2
