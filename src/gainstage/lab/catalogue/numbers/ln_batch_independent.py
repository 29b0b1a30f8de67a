"""Layer normalization gives a sample the same output whatever it is batched with; batch normalization does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, bound, combine, identity, number, worst_per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.numbers.ln_batch_independent"
CHANGES = {"mates": "other mates", "fewer": "half as many", "outlier": "one mate × 100"}
ERRORS = {"output_change": "relative change of a sample's output", "leak": "share of its gradient on its mates"}
# A change of exactly 0 has no place on a logarithmic axis; half a rounding error of float64 stands for it.
_FLOOR = 1e-16


@dataclass(frozen=True)
class BatchmatesDesign(Design):
    """Untrained ReLU perceptrons with a norm after each layer, in float64.

    Attributes:
        batches: Sizes; even, and so large that half of one can still be batch normalized.
        tolerance: Relative; a matrix product may be summed in another order for another batch size.
        changed: Relative change that must be reached with batch normalization. The statistics of B samples scatter
            by about 1/√(2B), which is 9 % at the largest batch here; a tenth of that is asked for.
    """

    depth: int
    width: int
    batches: tuple[int, ...]
    tolerance: float
    changed: float


def judge_batchmates(rows: Rows, design: BatchmatesDesign) -> Judgement:
    """Exact with layer norm; with batch norm every change of the batch must show."""
    found = [figure for name in ERRORS for figure in worst_per_seed(rows, name, norm="layer").values()]
    layer = identity(found, name="dependence on batch-mates with layer norm", tolerance=design.tolerance)
    shortfalls = [design.changed - figure for figure in _figures(rows, "batch")]
    batch = bound(shortfalls, name=f"{design.changed:g} ≤ dependence with batch norm", tolerance=0.0)
    return replace(combine(layer, batch), n=len({row["seed"] for row in rows}))


def judge_control(rows: Rows, design: BatchmatesDesign) -> Judgement:
    """With running statistics, batch norm depends on nothing but the sample."""
    return identity(_figures(rows, "batch"), name="dependence in evaluation mode", tolerance=design.tolerance)


def _figures(rows: Rows, norm: str) -> list[float]:
    """Each row is a problem of its own, so none is averaged."""
    chosen = [row for row in rows if row["norm"] == norm]
    return [figure for row in chosen for name in ERRORS for figure in worst_per_seed([row], name).values()]


def draw_dependence(rows: Rows) -> alt.LayerChart:
    """The change of an output for each norm and each change of the batch."""
    norms = {"layer": "layer norm", "batch": "batch norm"}
    points = [
        {
            "seed": row["seed"],
            "what": f"{norms[str(row['norm'])]}{', evaluating' if row['part'] == 'control' else ''}: "
            f"{CHANGES[str(row['change'])]}",
            "error": max(number(row["output_change"]), _FLOOR),
        }
        for row in rows
    ]
    return strips(
        points,
        Along("what", "norm and change of the batch"),
        Along("error", "relative change of the output (0 drawn at 1e-16)", log=True),
        title="How much a sample's output changes with the samples beside it",
        subtitle="A dot a seed and batch size; untrained networks in training mode, or evaluating (control)",
    )


CLAIM = Claim(
    id="ln-batch-independent",
    group="numbers",
    statement=(
        "Layer normalization does not depend on the other samples of a batch; batch normalization does: one "
        "sample's output changes when the samples beside it do."
    ),
    source="Ba, Kiros & Hinton 2016, Layer Normalization",
    citation="quoted",
    prediction="With layer norm the change is 0, exact in float64; with batch norm in training mode it is not.",
    scope=Scope(
        "fully connected ReLU networks of 4 layers, torch's LayerNorm and BatchNorm1d, not trained",
        "standard normal inputs",
        "batches of 4 to 64; other mates, half as many mates, one mate × 100; and the gradient of a sample's "
        "output with respect to its mates",
    ),
    caveats=(
        "Batch norm depends on the batch in training mode alone: with running statistics a sample is on its own.",
        "That an output does not depend on the batch says nothing about which of the two trains better.",
    ),
    designs={
        "quick": BatchmatesDesign(seeds=5, depth=4, width=64, batches=(4, 16, 64), tolerance=1e-12, changed=0.01),
    },
    absent={"full": "It is exact: a larger network would show the same."},
    smoke=BatchmatesDesign(seeds=2, depth=2, width=8, batches=(4,), tolerance=1e-12, changed=0.01),
    measure=Deferred(_HOME, "measure"),
    judge=judge_batchmates,
    control=Control(
        "In evaluation mode, with fixed statistics, batch norm must not depend on the batch either.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_dependence,
)
