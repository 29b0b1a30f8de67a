import math

import pytest

from gainstage.lab.apparatus.tuning import at_best, best_value, differences


def rows(norm, train, test):
    return [
        {"seed": seed, "norm": norm, "lr": lr, "train_loss": train[lr] + 0.01 * seed, "test_accuracy": test[lr]}
        for seed in range(3)
        for lr in train
    ]


ROWS = rows("batch", {0.1: 0.5, 1.0: 0.1}, {0.1: 0.8, 1.0: 0.7}) + rows(
    "none", {0.1: 0.6, 1.0: 2.3}, {0.1: 0.6, 1.0: 0.2}
)


def test_the_training_set_chooses_and_the_test_set_is_reported():
    assert best_value(ROWS, "lr", norm="batch") == 1.0
    assert at_best(ROWS, "test_accuracy", "lr", norm="batch") == {0: 0.7, 1: 0.7, 2: 0.7}
    assert best_value(ROWS, "lr", norm="none") == 0.1


def test_the_smallest_of_equals_is_chosen():
    same = [{"seed": 0, "lr": lr, "train_loss": 1.0} for lr in (3.0, 0.1, 1.0)]
    assert best_value(same, "lr") == 0.1


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_figure_that_cannot_be_had_comes_last(missing):
    some = [{"seed": 0, "lr": 0.1, "train_loss": missing}, {"seed": 0, "lr": 1.0, "train_loss": 2.0}]
    assert best_value(some, "lr") == 1.0


def test_nothing_to_choose_from():
    assert best_value([], "lr") is None
    assert at_best([], "test_accuracy", "lr") == {}


def test_differences_are_paired():
    found = differences({0: 1.0, 1: 2.0}, {0: 0.5, 2: 1.0})
    assert found[0] == 0.5
    assert math.isnan(found[1])
    assert math.isnan(found[2])
