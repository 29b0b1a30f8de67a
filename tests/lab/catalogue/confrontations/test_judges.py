"""The judges of the confrontations, on planted rows."""

import math

import pytest

from gainstage.lab.catalogue.confrontations import (
    exploding_gradients,
    initial_weights,
    large_rates,
    two_shifts,
    why_it_works,
)
from gainstage.theory import batch_norm_gradient_factor
from gainstage.theory.registry import activation


def jitter(seed):
    return 0.01 * math.sin(seed + 1)


def slopes(bare, normed, seeds=5):
    return [
        {"kind": "net", "seed": seed, "norm": norm, "scale": scale, "slope": growth(scale) + jitter(seed)}
        for seed in range(seeds)
        for norm, growth in (("none", bare), ("batch", normed))
        for scale in exploding_gradients.CONFRONTATION.designs["quick"].scales
    ]


@pytest.mark.parametrize(
    ("bare", "normed", "scale", "depth"),
    [
        (lambda a: 2 * math.log(a), lambda a: 0.38, "supported", "supported"),
        (lambda a: 2 * math.log(a), lambda a: 2 * math.log(a), "refuted", "refuted"),
        (lambda a: 0.0, lambda a: 0.0, "refuted", "refuted"),
        (lambda a: 2 * math.log(a), lambda a: 0.2, "supported", "refuted"),  # growth, but another factor
        (lambda a: 2 * math.log(a), lambda a: 0.6, "supported", "refuted"),
    ],
)
def test_explosion_is_judged_by_scale_and_by_depth(bare, normed, scale, depth):
    design = exploding_gradients.CONFRONTATION.designs["quick"]
    rows = slopes(bare, normed)
    assert exploding_gradients.judge_scale(rows, design).outcome == scale
    assert exploding_gradients.judge_depth(rows, design).outcome == depth


@pytest.mark.parametrize("batch", [8, 64, 256])
def test_the_factor_of_a_finite_batch_is_that_of_theory(batch):
    assert exploding_gradients.factor_of(batch) == pytest.approx(batch_norm_gradient_factor(activation("relu"), batch))


@pytest.mark.parametrize(
    ("ratio", "inputs", "gradients"), [(0.5, "refuted", "supported"), (-0.5, "supported", "refuted")]
)
def test_shifts_are_judged_by_opposite_sides(ratio, inputs, gradients):
    design = two_shifts.CONFRONTATION.designs["quick"]
    rows = [
        {"seed": seed, "norm": norm, "lr": lr, "step": 0, "inputs": value, "gradients": value}
        for seed in range(design.seeds)
        for lr in design.lrs
        for norm, value in (("none", 0.0), ("batch", ratio + jitter(3 * seed)))
    ]  # fmt: skip
    assert two_shifts.judge_inputs(rows, design).outcome == inputs
    assert two_shifts.judge_gradients(rows, design).outcome == gradients


def test_one_figure_that_could_not_be_had_decides_nothing():
    design = two_shifts.CONFRONTATION.designs["quick"]
    rows = [
        {"seed": seed, "norm": norm, "lr": 0.1, "step": 0, "inputs": None if seed == 2 else 1.0, "gradients": 1.0}
        for seed in range(design.seeds)
        for norm in ("none", "batch")
    ]
    assert two_shifts.judge_inputs(rows, design).outcome == "inconclusive"


def accuracies(usable, best=0.95, seeds=8):
    design = large_rates.CONFRONTATION.designs["quick"]
    return [
        {
            "seed": seed, "variant": variant, "batch_size": size, "lr": lr,
            "test_accuracy": (best + jitter(seed)) if lr <= usable(variant, size, seed) else 0.1,
        }
        for seed in range(seeds)
        for variant in large_rates.VARIANTS
        for size in design.batches
        for lr in design.lrs
    ]  # fmt: skip


def test_rates_are_judged_at_the_large_batch():
    design = large_rates.CONFRONTATION.designs["quick"]
    rows = accuracies(lambda variant, size, seed: 1.0 if variant == "batch" and size == 256 else 0.1)
    assert large_rates.judge_rates(rows, design).outcome == "supported"
    assert large_rates.judge_batches(rows, design).outcome == "supported"
    assert large_rates.judge_without(rows, design).outcome == "supported"
    same = accuracies(lambda variant, size, seed: 0.1)
    assert large_rates.judge_rates(same, design).outcome == "refuted"
    assert large_rates.judge_batches(same, design).outcome == "inconclusive"


def test_the_largest_usable_rate_may_lie_above_the_best():
    rows = [{"lr": lr, "test_accuracy": value} for lr, value in ((0.1, 0.90), (0.3, 0.95), (1.0, 0.91), (3.0, 0.2))]
    assert large_rates.largest_usable(rows, 0.05) == 1.0
    assert math.isnan(large_rates.largest_usable([], 0.05))


@pytest.mark.parametrize(("trained", "outcome"), [(5, "supported"), (2, "refuted")])
def test_the_range_of_scales_counts_what_trains(trained, outcome):
    design = initial_weights.CONFRONTATION.designs["quick"]
    rows = [
        {
            "seed": seed, "norm": norm, "scale": scale, "distance": 1.0 + jitter(seed),
            "test_accuracy": 0.9 if place < (trained if norm == "batch" else 2) else 0.1,
        }
        for seed in range(design.seeds)
        for norm in ("none", "batch")
        for place, scale in enumerate(design.scales)
    ]  # fmt: skip
    assert initial_weights.judge_range(rows, design).outcome == outcome


@pytest.mark.parametrize(
    ("name", "ratio", "outcome"),
    [
        ("rank", 0.7, "supported"),
        ("rank", -0.7, "refuted"),
        ("shift", 0.7, "refuted"),
        ("smoothness", -0.7, "supported"),
        ("smoothness", 0.0, "inconclusive"),
    ],
)
def test_each_explanation_predicts_a_side(name, ratio, outcome):
    design = why_it_works.CONFRONTATION.designs["quick"]
    rows = [{"seed": seed, "explanation": name, "ratio": ratio + jitter(seed)} for seed in range(design.seeds)]
    assert why_it_works.judge_by(name)(rows, design).outcome == outcome
    other = next(key for key in why_it_works.EXPLANATIONS if key != name)
    assert why_it_works.judge_by(other)(rows, design).outcome == "inconclusive"
