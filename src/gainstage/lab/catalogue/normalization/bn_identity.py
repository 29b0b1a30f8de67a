"""γ = σ and β = μ undo a batch norm: what it can compute is no less than without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, Value, bound, identity, number, worst_per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_identity"
STANDARD_EPS = 1e-5
# What is compared with the bare network, by the rows' ``how``.
NAMES = {
    "undone": "γ = σ, tiny ε",
    "standard": "γ = σ, ε = 1e-5",
    "corrected": "γ = √(σ² + ε), ε = 1e-5",
    "frozen": "the same in evaluation mode, another batch",
    "other": "training mode, another batch (control)",
}
# An error of 0 has no place on a logarithmic axis.
_FLOOR = 1e-17


@dataclass(frozen=True)
class IdentityDesign(Design):
    """A network and a batch.

    Attributes:
        eps: So small that ε/σ² is below the rounding of float64; torch does not take 0.
        tolerance: Largest difference of the outputs, relative to how they differ from sample to sample, in float64:
            roundings of 1e-16, times a thousand in sigmoid layers that make all samples alike, and leave.
        changed: Relative difference that another batch must reach: a batch of B samples has means off by about
            σ/√B, 12 % for 64.
    """

    depth: int
    width: int
    batch: int
    activations: tuple[str, ...]
    eps: float
    tolerance: float
    changed: float


def judge_identity(rows: Rows, design: IdentityDesign) -> Judgement:
    """Exact: the largest error over activations and seeds decides, with γ = σ and the tiny ε."""
    errors = list(worst_per_seed(rows, "error", how="undone").values())
    name = f"relative error of the output with γ = σ and β = μ in all {design.depth} layers"
    found = identity(errors, name=name, tolerance=design.tolerance)
    return replace(found, why=f"{found.why} {_notes(rows)}".rstrip())


def judge_control(rows: Rows, design: IdentityDesign) -> Judgement:
    """Supported if on another batch each network's output differs."""
    shortfalls = [design.changed - figure for row in rows for figure in worst_per_seed([row], "error").values()]
    return bound(shortfalls, name=f"{design.changed:g} ≤ relative change of the output", tolerance=0.0)


def _notes(rows: Rows) -> str:
    worst = {how: max(worst_per_seed(rows, "error", how=how).values(), default=None) for how in NAMES}
    told = [f"{NAMES[how]}: {worst[how]:.2g}" for how in ("standard", "corrected", "frozen") if worst[how] is not None]
    return f"Not judged, the largest error with {'; '.join(told)}." if told else ""


def draw_errors(rows: Rows) -> alt.LayerChart:
    """The error of each setting, one dot a seed and activation."""
    points: list[dict[str, Value]] = [
        {"what": NAMES[how], "error": max(number(row["error"]), _FLOOR), "seed": row["seed"]}
        for how in NAMES
        for row in rows
        if row["how"] == how
    ]
    return strips(
        points,
        Along("what", "the batch norms are set to"),
        Along("error", "largest difference / largest deviation of an output from its mean", log=True),
        title="Difference between a network with undone batch norms and the bare one",
        subtitle="A dot: one seed and activation, float64; bar: median; 0 is drawn at 1e-17",
    )


_QUICK = IdentityDesign(
    seeds=5,
    depth=5,
    width=64,
    batch=64,
    activations=("relu", "tanh", "sigmoid"),
    eps=1e-30,
    tolerance=1e-10,
    changed=0.01,
)

CLAIM = Claim(
    id="bn-identity",
    group="normalization",
    statement=(
        "Batch normalization loses no expressive power: with γ = σ and β = μ of a layer's preactivations it gives "
        "back the original ones, so a network with it can equal the bare one."
    ),
    source="Ioffe & Szegedy 2015, §3",
    prediction="On the batch that σ and μ are of, the outputs are equal: exact in float64, up to ε.",
    scope=Scope(
        "fully connected network with batch norm before each activation (ReLU, tanh, sigmoid), training mode",
        "a batch of scikit-learn digits, 64 samples (full: 256)",
        "five layers of 64 (full: 20 of 256), ε = 1e-30; PyTorch's ε = 1e-5 is shown, not judged",
    ),
    caveats=(
        "On that batch only: in training mode another batch has another σ and μ, and another output.",
        "In evaluation mode, with the running averages at σ and μ, the two are equal on all inputs.",
        "Equal outputs are not equal gradients: training goes another way from the same function.",
        "With γ = σ and ε > 0 each layer shrinks by √(1 + ε/σ²); γ = √(σ² + ε) is exact for any ε.",
    ),
    designs={
        "quick": _QUICK,
        # Rounding grows with depth and width: tenfold leave.
        "full": replace(_QUICK, seeds=10, depth=20, width=256, batch=256, tolerance=1e-9),
    },
    smoke=replace(_QUICK, seeds=2, depth=2, width=8, batch=16),
    measure=Deferred(_HOME, "measure"),
    judge=judge_identity,
    control=Control(
        "On another batch, in training mode, the output must differ.", Deferred(_HOME, "control"), judge_control
    ),
    figure=draw_errors,
)
