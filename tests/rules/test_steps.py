"""OPT001 and OPT002 on records made by hand: where they speak, and where they hold their tongue."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.rules import rule_of
from gainstage.rules.base import Finding, NotAssessed
from gainstage.trace.records import ParameterRecord, Trace
from gainstage.trace.training_records import OptimizerRecord, RatioRecord, StepRecord, TrialRecord, VariantRecord

MOST = RatioRecord("0.weight", 0.01)
STEP = StepRecord(loss=2.4, loss_after=2.3, zero_loss=2.3, promise=0.05, update_ratio=0.01, least=MOST, most=MOST)


def judged(code: str, trial: tuple[float, ...] | None = None, **step: object) -> list[Finding | NotAssessed]:
    trace = Trace(
        (), loss=2.4, optimizer=OptimizerRecord("SGD", (0.1,)), step=replace(STEP, **step),  # type: ignore[arg-type]
        trial=None if trial is None else TrialRecord(max(100, len(trial)), trial),
    )  # fmt: skip
    return list(rule_of(code).check(trace))


def codes(code: str, trial: tuple[float, ...] | None = None, **step: object) -> list[str]:
    return [r.severity if isinstance(r, Finding) else "not assessed" for r in judged(code, trial, **step)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [(2.3, []), (200.0, []), (241.0, ["warning"]), (1100.0, ["error"]), (math.nan, ["error"]), (math.inf, ["error"])],
)
def test_a_wild_step(after: float, expected: list[str]) -> None:
    assert codes("OPT001", loss_after=after) == expected


def test_a_start_far_above_is_its_own_yardstick() -> None:
    assert codes("OPT001", loss=100.0, loss_after=5000.0) == []


@pytest.mark.parametrize("step", [{"loss_after": 3.0}, {"loss_after": 2.3}])
@pytest.mark.parametrize(
    ("trial", "speaks"),
    [
        ((9.0,) * 100, True),  # stays above a network that knows nothing
        (tuple(9.0 - 0.06 * at for at in range(100)), False),  # on its way down
        ((9.0,) * 50 + (2.0,) * 50, False),  # came down
        ((9.0, math.nan), True),
        ((2.4,) * 30 + (2.2,) * 70, False),
    ],
)
def test_a_lost_trial_counts_only_after_a_step_upwards(
    trial: tuple[float, ...], speaks: bool, step: dict[str, float]
) -> None:
    assert codes("OPT001", trial, **step) == ["warning"] * (speaks and step["loss_after"] > 2.4)


@pytest.mark.parametrize(("peak", "expected"), [(300.0, ["warning"]), (200.0, []), (math.inf, [])])
@pytest.mark.parametrize("end", [2.35, 2.0])
def test_a_trial_that_is_thrown_up_later_counts_where_it_stays(peak: float, expected: list[str], end: float) -> None:
    trial = (2.4, 2.3, peak, *(end,) * 100)
    assert codes("OPT001", trial) == (expected if end > 2.3 else [])


def test_small_steps_and_momentum() -> None:
    small = {"promise": 5e-5, "most": RatioRecord("w", 5e-5)}

    assert codes("OPT002") == []
    assert codes("OPT002", **small) == ["warning"]
    assert codes("OPT002", **small, accumulation=10.0) == []
    assert codes("OPT002", promise=5e-5) == []
    assert codes("OPT002", most=RatioRecord("w", 5e-5)) == []
    assert codes("OPT002", promise=-1e-5, most=RatioRecord("w", 5e-5)) == []


def test_a_trial_that_learns_is_stronger_than_a_promise() -> None:
    small = {"promise": 5e-5, "most": RatioRecord("w", 5e-5)}

    assert codes("OPT002", tuple(2.4 - 0.01 * at for at in range(100)), **small) == []
    assert codes("OPT002", (2.4,) * 100, **small) == ["warning"]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"scheduled": True}, "a schedule sets"),
        ({"stepped": True}, "has made steps before"),
        ({"loss": 1.0}, "knows something already"),
        ({"zero_loss": None}, "as a yardstick"),
        ({"zero_loss": 0.0}, "as a yardstick"),
        ({"reason": "LBFGS"}, "could not be measured: LBFGS"),
    ],
)
def test_not_judged_where_small_steps_may_be_right(step: dict[str, object], reason: str) -> None:
    (found,) = judged("OPT002", promise=1e-6, most=RatioRecord("w", 1e-6), **step)

    assert isinstance(found, NotAssessed)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("after", "ratio", "expected"),
    [
        (4.8, 0.5, ["warning"]), (4.8, 0.1, []), (3.0, 0.5, []), (4.8, math.inf, []),
        (12.0, 0.1, ["warning"]), (12.0, 0.04, []),
    ],
)  # fmt: skip
def test_a_step_that_moves_the_weights_far_and_raises_the_loss(after: float, ratio: float, expected: list[str]) -> None:
    hidden = (MOST, MOST)
    assert codes("OPT001", loss_after=after, update_ratio=ratio, ratios=hidden) == expected
    # A single layer is convex.
    assert codes("OPT001", loss_after=after, update_ratio=ratio, ratios=hidden[:1]) == []


def weight(name: str, rms: float, *shape: int) -> ParameterRecord:
    return ParameterRecord(name, shape, "float32", True, True, mean=0.0, std=rms, rms=rms, max_abs=3 * rms)


@pytest.mark.parametrize(
    ("move", "rms", "shape", "expected"),
    [
        (0.9, 0.1, (64, 64), ["warning"]), (0.7, 0.1, (64, 64), []),
        (0.9, 1e-3, (64, 64), []),  # far below their usual level they have to grow
        (0.9, 0.1, (3, 4), []),
    ],
)  # fmt: skip
def test_a_step_that_turns_the_weights_over(
    move: float, rms: float, shape: tuple[int, ...], expected: list[str]
) -> None:
    names = ("0.weight", "2.weight")
    step = replace(STEP, ratios=tuple(RatioRecord(name, move) for name in names))
    trace = Trace((), loss=2.4, step=step, parameters=tuple(weight(name, rms, *shape) for name in names))
    found = [result for result in rule_of("OPT001").check(trace) if isinstance(result, Finding)]
    assert [finding.severity for finding in found] == expected
    assert all(finding.value == pytest.approx(0.9) and finding.threshold == 0.8 for finding in found)
    # A single layer is convex.
    assert list(rule_of("OPT001").check(replace(trace, step=replace(step, ratios=step.ratios[:1])))) == []


SMALL = RatioRecord("weight", 5e-3)


def tried(code: str, end: float, *variants: VariantRecord, **step: object) -> list[str]:
    trial = TrialRecord(200, (end,) * 200, variants=variants)
    trace = Trace(
        (),
        loss=2.4,
        optimizer=OptimizerRecord("SGD", (0.1,)),
        step=replace(STEP, **step),
        trial=trial,  # type: ignore[arg-type]
    )
    return [r.severity if isinstance(r, Finding) else "not assessed" for r in rule_of(code).check(trace)]


@pytest.mark.parametrize(("lower", "expected"), [(1.0, ["warning"]), (2.0, []), (math.inf, [])])
def test_the_same_trial_at_a_lower_rate(lower: float, expected: list[str]) -> None:
    variant = VariantRecord("lr", 0.1, 0.01, lower)
    assert tried("OPT001", 2.2, variant) == expected
    assert tried("OPT001", math.nan, VariantRecord("lr", 100.0, 10.0, lower)) == []
    # Also where nothing is known of outputs that are all zero.
    assert tried("OPT001", 2.2, variant, zero_loss=None) == (expected or ["not assessed"])


@pytest.mark.parametrize(("lower", "expected"), [(0.4, ["warning"]), (0.6, [])])
def test_a_trial_that_halves_the_loss_has_to_be_halved_again_at_a_lower_rate(lower: float, expected: list[str]) -> None:
    losses = (2.4, *(1.0,) * 199)
    trial = TrialRecord(200, losses, variants=(VariantRecord("lr", 0.1, 0.01, lower),))
    trace = Trace((), loss=2.4, optimizer=OptimizerRecord("SGD", (0.1,)), step=STEP, trial=trial)
    assert [r.severity for r in rule_of("OPT001").check(trace) if isinstance(r, Finding)] == expected


@pytest.mark.parametrize(("higher", "expected"), [(0.5, ["warning"]), (1.5, []), (math.inf, [])])
def test_the_same_trial_at_a_higher_rate(higher: float, expected: list[str]) -> None:
    assert tried("OPT002", 2.3, VariantRecord("lr", 100.0, 10.0, higher), most=SMALL) == expected
    assert tried("OPT002", 2.3, VariantRecord("weight_decay", 0.0, 0.1, higher)) == []


@pytest.mark.parametrize(("tenfold", "expected"), [(0.4, ["warning"]), (0.6, []), (math.inf, [])])
def test_the_same_trial_at_ten_times_the_rate(tenfold: float, expected: list[str]) -> None:
    assert tried("OPT002", 2.3, VariantRecord("lr", 10.0, 1.0, tenfold), most=SMALL) == expected


def test_a_rate_is_not_too_high_where_a_higher_one_ends_lower() -> None:
    lower, higher = VariantRecord("lr", 0.1, 0.01, 1.0), VariantRecord("lr", 10.0, 1.0, 0.5)
    assert tried("OPT001", 2.2, lower) == ["warning"]
    assert tried("OPT001", 2.2, lower, higher) == []


@pytest.mark.parametrize(("constant", "expected"), [(0.25, ["warning"]), (0.5, ["not assessed"])])
def test_what_is_known_is_measured_against_the_best_constant_answer(constant: float, expected: list[str]) -> None:
    # Outputs of a sigmoid: those that are all zero are a bad answer, and a half is one that needs no learning.
    step = {"loss": 0.25, "loss_after": 0.25, "zero_loss": 0.5, "constant_loss": constant, "promise": 1e-5}
    assert codes("OPT002", most=RatioRecord("weight", 1e-4), **step) == expected


@pytest.mark.parametrize(("ratio", "expected"), [(8e-3, ["warning"]), (2e-2, [])])
def test_weights_that_move_are_none_that_a_higher_rate_would_start(ratio: float, expected: list[str]) -> None:
    variant = VariantRecord("lr", 10.0, 1.0, 0.4)
    assert tried("OPT002", 2.3, variant, most=RatioRecord("weight", ratio)) == expected


def test_weights_that_a_norm_takes_the_scale_of_may_be_turned_over() -> None:
    inputs = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    batch = inputs, inputs[:, :4].argmax(1)

    def spoken(behind: type[nn.Module], rate: float) -> list[str]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 32), behind(32), nn.ReLU(), nn.Linear(32, 4), behind(4))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        return [finding.code for finding in gs.check(model, batch, optimizer=optimizer, select="OPT001").findings]

    assert spoken(nn.BatchNorm1d, 5.0) == []
    assert spoken(nn.Identity, 50.0) == ["OPT001"]
