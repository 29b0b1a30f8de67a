import math

import pytest

from gainstage.lab.apparatus.rates import best_run, copy_of, flat, grid, largest_usable, rate_runs, steps_to
from gainstage.lab.catalogue.designs import DIGITS, PLAIN, Net, RateDesign
from gainstage.sweep import Row

DESIGN = RateDesign(2, Net("MLP-1", PLAIN, (("depth", 1), ("width", 8))), DIGITS, "cpu", "he", (0.1, 0.3), 5, 32)


def run(curve, diverged_at=None):
    steps = tuple(10 * place for place in range(len(curve)))
    return Row("key", {"lr": 0.1}, steps, {"test_accuracy": tuple(curve)}, diverged_at)


def test_steps_to_the_first_measurement_at_the_target():
    assert steps_to(run([0.1, 0.4, 0.5, 0.4]), 0.5) == 20
    assert steps_to(run([0.1, 0.4]), 0.5) is None


def test_a_run_that_diverged_has_reached_nothing():
    assert steps_to(run([0.1, 0.6, math.nan], diverged_at=15), 0.5) is None
    assert flat(run([0.1, 0.6, math.nan], diverged_at=15), ("lr",))["test_accuracy"] == 0.1
    lost = Row("key", {"lr": 0.1}, (0, 10), {"train_loss": (2.3, math.nan)}, 5)
    assert flat(lost, ("lr",))["train_loss"] is None


def test_the_largest_usable_rate_need_not_be_the_end_of_a_range():
    accuracies = {0.1: 0.9, 0.3: 0.4, 1.0: 0.5, 3.0: 0.1}
    rows = [{"lr": lr, "test_accuracy": value} for lr, value in accuracies.items()]
    assert largest_usable(rows) == 1.0
    assert largest_usable(rows[3:]) is None


def test_the_best_of_equals_is_the_smallest_rate():
    rows = [{"lr": lr, "train_loss": 0.5, "test_accuracy": lr} for lr in (0.3, 0.1)]
    assert best_run(rows)["lr"] == 0.1


def test_the_lowest_training_loss_chooses_among_rates_that_fit_all():
    rows = [{"lr": lr, "train_loss": loss, "train_accuracy": 1.0} for lr, loss in ((0.1, 0.02), (0.3, 0.01))]
    assert best_run(rows)["lr"] == 0.3


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_run_that_diverged_comes_last(missing):
    rows = [{"lr": 0.1, "train_loss": missing}, {"lr": 0.3, "train_loss": 9.0}]
    assert best_run(rows)["lr"] == 0.3
    assert best_run(rows[:1])["lr"] == 0.1


def test_copies_are_networks_of_their_own():
    runs = rate_runs(DESIGN, grid(3, [{"norm": "none"}], (0.1,), copies=2))
    assert [copy_of(found, 3) for found in runs] == [0, 1]
    assert runs[0].curves != runs[1].curves
    (alone,) = rate_runs(DESIGN, grid(3, [{"norm": "none"}], (0.1,)))
    # One run or two at once: the sums may be taken in another order.
    assert alone.curves["test_accuracy"] == pytest.approx(runs[0].curves["test_accuracy"], abs=0.01)
