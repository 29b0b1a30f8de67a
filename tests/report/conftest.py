"""Records by hand: a relu network whose signal vanishes, with findings, a trial and verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import pytest

from gainstage.diagnosis.records import Trial
from gainstage.remedies.fix import Fix
from gainstage.report.document import Report
from gainstage.rules.base import Finding, NotAssessed
from gainstage.trace.records import LayerRecord, LossRecord, ParameterRecord, TensorRecord, Trace
from gainstage.trace.training_records import OptimizerRecord

HOSTILE = "<script>alert(1)</script>[red]\x1b[31m\u202e"


def layers(depth: int, *, decay: float = 0.5**0.5) -> list[LayerRecord]:
    """`depth` pairs of linear and relu: the forward rms shrinks with depth, the gradient towards the input."""
    made: list[LayerRecord] = []
    for i in range(depth):
        forward, gradient = decay ** (i + 1), 0.02 * decay ** (depth - i)
        shared: dict[str, Any] = {"shape": (64, 256), "batch_size": 64, "grad_rms": gradient, "mean": 0.0}
        fans = {"fan_in": 256.0, "fan_out": 256.0, "weight_std": 0.0625, "weight_grad_rms": gradient / 8}
        inputs = (len(made) - 1,) if made else ()
        made.append(
            LayerRecord(f"layers.{2 * i}", "linear", "linear", f"layers.{2 * i}", inputs=inputs, rms=forward,
                        parameters=(f"layers.{2 * i}.weight",), std=forward, max_abs=4 * forward, **shared, **fans)
        )  # fmt: skip
        made.append(
            LayerRecord(f"layers.{2 * i + 1}", "activation", "relu", f"layers.{2 * i + 1}", inputs=(2 * i,),
                        rms=forward * 0.7071, zero_fraction=0.5, dead_fraction=0.0, **shared)
        )  # fmt: skip
    return made


def trace(depth: int = 30) -> Trace:
    made = [*layers(depth), LayerRecord("head", "linear", "linear", "head", (64, 10), (2 * depth - 1,), rms=2.1e-5)]
    made[-1] = replace(made[-1], grad_rms=0.037, batch_size=64)
    weights = [(layer.name, (256, 256)) for layer in made if layer.kind == "linear"]
    return Trace(
        layers=tuple(made),
        loss=2.302585,
        name="PlainMLP",
        parameters=tuple(
            ParameterRecord(f"{name}.weight", shape, "float32", True, True, 0.0, 0.0625, 0.0625, 0.26)
            for name, shape in weights
        ),
        inputs=(TensorRecord("inputs", (64, 256), "float32", 0.0, 1.0, 1.0, -3.1, 3.3),),
        loss_record=LossRecord("cross_entropy", True, ("log_softmax", "nll_loss"), 2 * depth),
        optimizer=OptimizerRecord("SGD", (0.1,)),
        skipped=("stable rank of head: fewer than two samples",),
    )


def findings(depth: int = 30) -> tuple[Finding, ...]:
    names = tuple(layer.name for layer in layers(depth))
    refit = Fix(
        "INI002", "layers.0", "Draw the weights of 30 linear layers with the He variance 2 / fan_in.", "rescale"
    )
    return (
        Finding(
            "INI002", "gain-mismatch", "error", "init", "layers.0",
            "Each of 30 linear layers with its relu passes on 0.500 of the mean square that it receives; Xavier's "
            "variance suits linear units, and relu discards half.",
            "After 30 layers the signal is 3e-5 of what came in, and the gradient shrinks by the same factor on its "
            "way back, so the first layers hardly learn.",
            "Initialize with the variance 2 / fan_in, which makes up for the half that relu discards.",
            0.5, 0.8,
            {"expected_gain": 1.0, "layers": 30, "weight_std": 0.0625, "he_weight_std": 0.0884, "looks_like": "xavier"},
            refit, ("he-variance", "mismatch-decay"), names[:2],
        ),
        Finding(
            "INI003", "signal-vanishes", "error", "init", "layers.9",
            "The forward rms falls from 0.707 to 2.1e-5 over 61 layers; at layers.9 it leaves the band that theory "
            "allows for this width.",
            "What reaches the read-out is the same for every input.",
            "Mend the gain first; this follows from it.",
            2.1e-5, 0.1, {"ratio_per_layer": 0.5}, None, ("mismatch-decay",), names[9:], "INI002",
        ),
        Finding(
            "GRD001", "gradient-vanishes", "warning", "depth", "layers.0",
            "The gradient at layers.0 is 3.1e-5 of the gradient at the head.", "The first layers stand still.",
            "Mend the gain first.", 3.1e-5, 1e-3, {}, None, (), names[:6], "INI003",
        ),
        Finding(
            "DAT001", "input-scale", "warning", "data", "",
            "Feature 17 of the inputs has a mean of 12.4 at a spread of 0.8.",
            "One feature outweighs all others, and the loss is badly conditioned.",
            "Standardise the inputs with the training set's mean and deviation.", 12.4, 3.0, {"feature": 17},
        ),
    )  # fmt: skip


@pytest.fixture
def report() -> Report:
    """Three findings of one origin, one of another, two rules without a verdict."""
    entries = (
        NotAssessed("NRM002", "the model has no batch normalization"),
        NotAssessed("NRM003", "the model has no batch normalization"),
        NotAssessed("OPT003", "no trial was run (steps=0)"),
    )
    return Report(findings=findings(), not_assessed=entries, trace=trace())


@pytest.fixture
def clean() -> Report:
    return Report(findings=(), not_assessed=(), trace=trace(2))


@pytest.fixture
def hostile() -> Report:
    """Names and messages that are markup to some reader, and figures that JSON cannot write."""
    base = trace(2)
    broken = replace(base.layers[1], name=HOSTILE, module=HOSTILE, op=HOSTILE, non_finite=12, rms=None)
    finding = Finding(
        "NUM001", "first-non-finite", "error", "precision", HOSTILE, f"{HOSTILE} is 100%,\nreally: \r[/red]",
        HOSTILE, HOSTILE, math.nan, math.inf, {HOSTILE: -math.inf, "names": (HOSTILE,), "limit": None},
        Fix("NUM001", HOSTILE, HOSTILE, "nothing"), (HOSTILE,), (HOSTILE,),
    )  # fmt: skip
    made = replace(base, layers=(base.layers[0], broken, *base.layers[2:]), loss=math.nan, name=HOSTILE)
    return Report(findings=(finding,), not_assessed=(NotAssessed("INI001", HOSTILE),), trace=made)


@pytest.fixture
def trial() -> Trial:
    def curve(seed: int, rate: float) -> tuple[float, ...]:
        wobble = (0.06 * math.sin(1.7 * step + seed) * math.exp(-step / 150) for step in range(200))
        return tuple(2.303 * math.exp(-rate * step * (1 + 0.08 * seed)) + 0.09 + w for step, w in enumerate(wobble))

    return Trial(
        before=tuple(curve(seed, 0.0003) for seed in range(3)), after=tuple(curve(seed, 0.018) for seed in range(3)),
        improved=True, effect=2.07, interval=(1.94, 2.2), fixes=(findings()[0].fix,) * 1, steps=200,  # type: ignore[arg-type]
        optimizer="SGD, learning rate 0.1", note="Digits of scikit-learn; a larger data set may differ.",
    )  # fmt: skip


@dataclass(frozen=True)
class FakeClaim:
    id: str
    statement: str
    source: str


@dataclass(frozen=True)
class FakeVerdict:
    claim: FakeClaim
    outcome: str
    effect: float | None
    interval: tuple[float, float] | None
    n: int
    why: str
    chart: alt.Chart | None = None

    def figure(self) -> alt.Chart | None:
        return self.chart


@pytest.fixture
def verdicts() -> tuple[FakeVerdict, ...]:
    rows = [
        {"layer": i, "gain": k, "q": g**i} for k, g in (("2 / fan_in", 1.0), ("1 / fan_in", 0.5)) for i in range(31)
    ]
    chart = alt.Chart(alt.Data(values=rows)).mark_line(clip=True)
    chart = chart.encode(
        x=alt.X("layer:Q"), y=alt.Y("q:Q", scale=alt.Scale(type="log"), title="mean square"), color="gain:N"
    )
    bars = alt.Chart(alt.Data(values=[{"init": "He", "accuracy": 0.94}, {"init": "Xavier", "accuracy": 0.95}]))
    return (
        FakeVerdict(
            FakeClaim("he-variance", "Var W = 2 / fan_in keeps the second moment.", "He et al. 2015, §2.2"),
            "supported", 0.0021, (-0.004, 0.008), 5, "The slope of log q over depth lies within its tolerance.", chart,
        ),
        FakeVerdict(
            FakeClaim("he-with-tanh", "He initialization with tanh is worse than Xavier.", "an overview article"),
            "refuted", -0.01, (-0.014, -0.006), 5, "He reaches the same accuracy in eight layers on digits.",
            bars.mark_bar().encode(x="accuracy:Q", y="init:N"),
        ),
        FakeVerdict(FakeClaim("edge-of-chaos", "Trainable depth follows the depth scale.", "Schoenholz 2017"),
                    "not-run", None, None, 0, "Needs the full preset."),
    )  # fmt: skip
