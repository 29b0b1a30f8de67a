"""Queries against brute force, closed forms and renamed worlds."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError, UnknownNameError
from gainstage.numerics.intervals import paired_interval
from gainstage.sweep.cells import Row
from gainstage.sweep.queries import axes, best, largest_stable, range_in_decades

RATES = (0.001, 0.01, 0.1, 1.0, 10.0)


def row(loss: float | None = None, diverged: bool = False, error: str | None = None, **values: object) -> Row:
    curves = {} if loss is None else {"loss": (9.0, loss)}
    return Row(str(values), values, (0, 1), curves, 5 if diverged else None, error)


def stable_below(limit: float, **values: object) -> list[Row]:
    return [row(1.0, diverged=rate > limit, lr=rate, **values) for rate in RATES]


def test_axes_are_what_varies():
    rows = [row(lr=lr, norm=norm, width=64) for lr in (0.1, 0.2) for norm in (None, "batch")]
    assert axes(rows) == {"lr": [0.1, 0.2], "norm": [None, "batch"]}


def test_the_largest_stable_value_by_group_and_over_seeds():
    rows = [*stable_below(0.05, norm="none", seed=0), *stable_below(0.5, norm="none", seed=1)]
    rows += [*stable_below(2, norm="batch", seed=0), *stable_below(2, norm="batch", seed=1)]
    none, batch = largest_stable(rows, by=("norm",))
    assert (none.group, batch.group) == ({"norm": "none"}, {"norm": "batch"})
    # Geometric mean of 0.01 and 0.1; t of one degree of freedom is 12.706, the logs' standard error 1/2.
    assert none.value == pytest.approx(10**-1.5)
    assert math.log10(none.interval.high / none.value) == pytest.approx(12.7062 / 2, rel=1e-5)
    assert (batch.value, batch.interval.low, batch.interval.high) == (1.0, 1.0, 1.0)
    assert (none.beyond, none.never, none.interval.n) == (0, 0, 2)


def test_the_ends_of_the_grid_are_told():
    rows = [*stable_below(99, seed=0), *stable_below(0.5, seed=1), *stable_below(0, seed=2)]
    (found,) = largest_stable(rows)
    assert (found.beyond, found.never, found.interval.n) == (1, 1, 2)
    (nowhere,) = largest_stable(stable_below(0))
    assert (nowhere.value, nowhere.interval, nowhere.never) == (None, None, 1)


def test_a_stable_value_beyond_a_gap_does_not_count():
    rows = [row(1.0, diverged=rate == 0.1, lr=rate) for rate in RATES]
    assert largest_stable(rows)[0].value == 0.01
    failed = [row(None if rate == 0.1 else 1.0, error="no" if rate == 0.1 else None, lr=rate) for rate in RATES]
    assert largest_stable(failed)[0].value == 0.01


def test_axes_left_out_are_tuned():
    rows = [*stable_below(0.05, scale=1), *stable_below(2, scale=3)]
    assert largest_stable(rows)[0].value == 1.0
    losses = {(1, 0.1): 1.0, (1, 1.0): 3.0, (2, 0.1): 4.0, (2, 1.0): 1.05}
    rows = [row(loss, scale=scale, lr=rate) for (scale, rate), loss in losses.items()]
    assert range_in_decades(rows, "loss")[0].interval.mean == 1.0
    assert [found.interval.mean for found in range_in_decades(rows, "loss", by=("scale",))] == [0.0, 0.0]


def test_the_range_around_the_best():
    losses = dict(zip(RATES, (1.0, 5.0, 1.05, 1.0, 1.09), strict=True))
    (found,) = range_in_decades([row(loss, lr=rate) for rate, loss in losses.items()], "loss")
    # The first is as good, but first come first served goes to the left one, and a gap lies between.
    assert found.interval.mean == 0.0
    losses[0.001] = 1.01
    (found,) = range_in_decades([row(loss, lr=rate) for rate, loss in losses.items()], "loss")
    assert found.interval.mean == pytest.approx(2.0)
    assert found.open_ended == 1
    (narrow,) = range_in_decades([row(loss, lr=rate) for rate, loss in losses.items()], "loss", tolerance=0.06)
    assert (narrow.interval.mean, narrow.open_ended) == (pytest.approx(1.0), 0)


def test_accuracies_are_good_when_high():
    curves = dict(zip(RATES, (0.2, 0.85, 0.9, 0.82, 0.1), strict=True))
    rows = [Row(str(rate), {"lr": rate}, (0,), {"test_accuracy": (value,)}) for rate, value in curves.items()]
    assert range_in_decades(rows, "test_accuracy")[0].interval.mean == pytest.approx(2.0)
    assert best(rows, "test_accuracy")[0].values == {"lr": 0.1}
    assert best(rows, "test_accuracy", higher=False)[0].values == {"lr": 10.0}


def test_one_that_never_trains_has_no_range():
    (found,) = range_in_decades([row(math.nan, lr=0.1), row(1.0, diverged=True, lr=1.0)], "loss")
    assert (found.interval, found.never, found.open_ended) == (None, 1, 0)


def test_the_best_must_train_with_every_seed():
    rows = [row(0.1, lr=1.0, seed=0), row(0.1, diverged=True, lr=1.0, seed=1)]
    rows += [row(2.0, lr=0.1, seed=0), row(4.0, lr=0.1, seed=1)]
    (found,) = best(rows, "loss")
    assert (found.values, found.interval) == ({"lr": 0.1}, paired_interval([2.0, 4.0]))
    assert best(rows[:2], "loss") == []


@given(st.dictionaries(
    st.tuples(st.sampled_from(RATES), st.sampled_from("ab"), st.integers(0, 2)),
    st.none() | st.floats(0.1, 9), min_size=1,
))  # fmt: skip
def test_queries_are_those_of_brute_force(world):
    rows = [
        row(loss, lr=rate, norm=norm, seed=seed, diverged=loss is None) for (rate, norm, seed), loss in world.items()
    ]
    rows.append(row(5.0, lr=0.1, norm="c", seed=0))  # a metric there must be
    groups = sorted({key[1] for key in world})
    stable = {found.group["norm"]: found for found in largest_stable(rows, by=("norm",))}
    for norm in groups:
        limits = []
        for seed in {key[2] for key in world if key[1] == norm}:
            line = sorted((key[0], loss) for key, loss in world.items() if key[1:] == (norm, seed))
            limits.append([rate for rate, _ in itertools.takewhile(lambda pair: pair[1] is not None, line)])
        logs = [math.log10(limit[-1]) for limit in limits if limit]
        found = stable[norm]
        assert found.never == len(limits) - len(logs)
        assert (found.value is None) == (not logs)
        if logs:
            assert math.log10(found.value) == pytest.approx(statistics.mean(logs), abs=1e-12)
    for found in best(rows, "loss", by=("norm",)):
        means = {}
        for rate in RATES:
            losses = [loss for key, loss in world.items() if key[:2] == (rate, found.group["norm"])]
            if losses and None not in losses:
                means[rate] = statistics.mean(losses)
        if found.group["norm"] != "c":
            assert found.interval.mean == pytest.approx(min(means.values()))


@given(st.permutations(range(10)), st.floats(0.1, 10))
def test_order_and_units_do_not_matter(order, unit):
    rows = [*stable_below(0.05, seed=0), *stable_below(0.5, seed=1)]
    value = largest_stable(rows)[0].value
    scaled = [Row(r.key, {**r.values, "lr": r.values["lr"] * unit}, r.steps, r.curves, r.diverged_at) for r in rows]
    assert largest_stable([scaled[index] for index in order])[0].value == pytest.approx(value * unit)


def test_names_that_nobody_has_are_told_with_the_nearest():
    rows = stable_below(1, norm="batch")
    with pytest.raises(UnknownNameError, match=r"axis must be a known one, got 'nrom'. Did you mean 'norm'"):
        largest_stable(rows, by=("nrom",))
    with pytest.raises(UnknownNameError, match=r"metric must be a known one, got 'los'. Did you mean 'loss'"):
        best(rows, "los")
    with pytest.raises(InputError, match="axis must have positive numbers, got 'batch' for 'norm'"):
        largest_stable(rows, "norm")
    with pytest.raises(InputError, match="tolerance must be 0 or more, got -1"):
        range_in_decades(rows, "loss", tolerance=-1)
