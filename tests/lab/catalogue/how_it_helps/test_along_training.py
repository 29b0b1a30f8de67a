import math

import pytest

from gainstage.lab.catalogue.how_it_helps.along_training import draw_ratios, log_ratios, ratio_points


def row(norm, value, *, seed=0, lr=0.1, step=0, diverged=False):
    return {"seed": seed, "norm": norm, "lr": lr, "step": step, "diverged": diverged, "figure": value}


def ratios(*rows, **where):
    return log_ratios(rows, "figure", "norm", "batch", "none", **where)


def test_the_mean_is_over_steps_and_rates_of_equal_weight():
    rows = [row("none", 1.0, lr=lr, step=step) for lr in (0.1, 1.0) for step in (0, 5)]
    rows += [row("batch", 10.0 if lr == 1.0 else 1.0, lr=lr, step=step) for lr in (0.1, 1.0) for step in (0, 5)]
    assert ratios(*rows) == pytest.approx([0.5])
    assert ratios(*rows, lr=1.0) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("batch", "none", "expected"),
    [
        (row("batch", 0.1), row("none", 10.0), -2.0),
        (row("batch", 1.0), row("none", None, diverged=True), -3.0),
        (row("batch", None, diverged=True), row("none", 1.0), 3.0),
        (row("batch", None, diverged=True), row("none", None, diverged=True), 0.0),
        (row("batch", 0.0), row("none", 1.0), -3.0),
        (row("batch", 1.0), row("none", 0.0), 3.0),
        (row("batch", 0.0), row("none", 0.0), 0.0),
        (row("batch", 1e-9), row("none", 1.0), -3.0),
        # one step led to infinity, another measure of the same halt did not
        (row("batch", 1.0, diverged=True), row("none", 10.0), -1.0),
    ],
)
def test_what_diverged_is_infinite_and_ratios_end_at_three_decades(batch, none, expected):
    assert ratios(batch, none) == pytest.approx([expected])


def test_what_is_missing_is_not_a_number():
    assert math.isnan(ratios(row("batch", None), row("none", 1.0))[0])
    assert math.isnan(ratios(row("batch", math.nan), row("none", 1.0))[0])
    assert math.isnan(ratios(row("batch", 1.0))[0])
    assert ratios() == []


def test_seeds_are_apart_and_in_order():
    rows = [row(norm, value, seed=seed) for seed, value in ((2, 100.0), (1, 10.0)) for norm in ("none", "batch")]
    assert ratios(*rows) == [0.0, 0.0]
    assert [point["seed"] for point in ratio_points(rows, "figure", "norm", "batch", "none")] == [1, 2]


def test_the_picture_shows_both_parts():
    rows = [{**row(norm, 1.0), "part": part} for part in ("claim", "control") for norm in ("none", "batch")]
    compared = dict.fromkeys(("claim", "control"), ("norm", "batch", "none"))
    chart = draw_ratios(rows, "figure", title="A", of="ratio", control="B", compared=compared).to_dict()
    assert [panel["title"]["text"] for panel in chart["hconcat"]] == [["A"], ["B"]]
