"""Batch norm in the last layer lowers the largest eigenvalue of the Fisher information of wide nets.

Behind ReLUs all samples' gradients share a direction, so that the largest eigenvalue grows as the width M; a batch norm
behind the last layer takes the mean over samples away, and the rest is of order 1 if there are as many samples as
units. Theory has exponents of M of 1 (no norm; norms in the middle; layer norm) against 0 (last layer): a difference
above 1/2 counts. Odd activations and centered inputs have no shared direction: there nothing must change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, combine, equality, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.fisher_conditioning"
NAMES: Mapping[str, str] = {
    "none": "no norm",
    "last": "batch norm, last layer",
    "middle": "batch norm, hidden layers",
    "layer": "layer norm, last layer",
    "tanh none": "tanh, no norm (control)",
    "tanh last": "tanh, batch norm, last (control)",
}
_HALF = 0.5


@dataclass(frozen=True)
class FisherDesign(Design):
    """Perceptrons whose inputs, hidden layers and batches are all of one width.

    Attributes:
        widths: M.
        hidden: Hidden layers.
        classes: Outputs; the loss is squared error.
        accuracy: Relative, of an eigenvalue.
        device: ``auto`` is a GPU if there is one.
    """

    widths: tuple[int, ...]
    hidden: int = 2
    classes: int = 10
    accuracy: float = 0.02
    device: str = "cpu"


def judge_fisher(rows: Rows, design: FisherDesign) -> Judgement:
    """The exponent of λ_max over width: with batch norm in the last layer lower by more than 1/2 than in each other."""
    parts = [_gap(rows, design, other) for other in ("none", "middle", "layer")]
    found = combine(parts[0], *parts[1:])
    return replace(found, why=f"{found.why} {_levels(rows, design)}")


def judge_control(rows: Rows, design: FisherDesign) -> Judgement:
    """With tanh the two exponents differ by less than 1/2."""
    return equality(
        paired_differences(rows, "exponent", "net", "tanh none", "tanh last"), seeds=design.seeds, target=0.0,
        tolerance=_HALF, name="exponent of λ_max over width, no norm - batch norm in the last layer, tanh",
    )  # fmt: skip


def _gap(rows: Rows, design: FisherDesign, other: str) -> Judgement:
    return one_sided(
        paired_differences(rows, "exponent", "net", other, "last"), seeds=design.seeds, side="above", limit=_HALF,
        name=f"exponent of λ_max over width, {NAMES[other]} - {NAMES['last']}",
    )  # fmt: skip


def _levels(rows: Rows, design: FisherDesign) -> str:
    """What the eigenvalues are at the largest width."""
    width = max(design.widths)
    texts: list[str] = []
    for net in ("none", "last", "middle", "layer"):
        values = list(per_seed(rows, "sharpness", net=net, width=width).values())
        exponents = list(per_seed(rows, "exponent", net=net).values())
        if values and exponents:
            mean, power = sum(values) / len(values), sum(exponents) / len(exponents)
            texts.append(f"{NAMES[net]} {mean:.3g} (exponent {power:.2g})")
    return f"Mean λ_max at width {width}: {', '.join(texts)}."


def draw_eigenvalues(rows: Rows) -> alt.LayerChart:
    """λ_max over width."""
    points = [{**row, "what": NAMES[str(row["net"])]} for row in chosen(rows, kind="width")]
    return curves(
        points, Along("width", "width M = inputs = samples", log=True),
        Along("sharpness", "largest Fisher eigenvalue", log=True), Along("what", "nets"),
        title="Largest eigenvalue of the Fisher information over width, at initialization",
        subtitle="Faint: seeds; bold: their median",
    )  # fmt: skip


CLAIM = Claim(
    id="fisher-conditioning",
    group="depth",
    statement=(
        "In wide networks at random weights the largest eigenvalue of the Fisher information grows with the width. "
        "Batch norm in the last layer lowers it drastically; batch norm in the hidden layers, or layer norm, does not."
    ),
    source=(
        "Karakida, Akaho & Amari 2019, The normalization method for alleviating pathological sharpness in wide neural "
        "networks"
    ),
    citation="quoted",
    prediction=(
        "λ_max grows as the width without a norm, with batch norm in hidden layers and with layer norm; with batch "
        "norm in the last layer it does not grow."
    ),
    scope=Scope(
        "ReLU perceptron with two hidden layers, He's weights, 10 outputs, squared error, at initialization",
        "standard normal inputs, as many features and samples as units, all in one batch",
        "width 48 to 384 (quick), 256 to 4096 (full)",
    ),
    caveats=(
        "The theory is for infinite width, and for sample numbers in proportion to it: with a fixed number λ_max grows "
        "behind a batch norm too.",
        "It is the growth that is judged. Batch norm in hidden layers does lower λ_max by a factor.",
        "The Fisher information is taken through the batch statistics, as a batch norm that trains has it.",
    ),
    designs={
        "quick": FisherDesign(seeds=8, widths=(48, 96, 192, 384)),
        "full": FisherDesign(seeds=10, widths=(256, 512, 1024, 2048, 4096), device="auto"),
    },
    smoke=FisherDesign(seeds=2, widths=(8, 16), device="auto"),
    measure=Deferred(_HOME, "measure"),
    judge=judge_fisher,
    control=Control(
        "With tanh, whose outputs have mean zero, batch norm in the last layer must not change the growth.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_eigenvalues,
)
