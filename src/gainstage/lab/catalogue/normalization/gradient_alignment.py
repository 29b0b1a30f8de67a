"""Whether the samples of a batch pull the outputs the same way at initialization."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, RESIDUAL, RESNET, AtStart, Net
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, side_by_side, strips
from gainstage.lab.judge import Judgement, combine, described, equality, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.gradient_alignment"
FIGURES = {
    "sign_alignment": "alignment Σ_c |Σ_b d_bc| / Σ_bc |d_bc|",
    "top_class_share": "share of the class predicted most",
}
# Of the alignment, which lies between 0 and 1: a tenth of its range.
NO_GAP = 0.1
# `gainstage.lab.apparatus.draws.ZERO_BRANCH`, which needs torch.
CONTROL_INIT = "branches at zero"
_NAMES = {"none": "no norm", "batch": "batch norm"}


def judge_alignment(rows: Rows, design: AtStart) -> Judgement:
    """Both figures are larger without the norm."""
    net, init = design.cases[0]
    found = combine(
        *(
            one_sided(
                _gaps(rows, key, net.label, init), name=_name(key, net.label, init), seeds=design.seeds, side="above"
            )
            for key in FIGURES
        )
    )
    others = "; ".join(
        described(_gaps(rows, "sign_alignment", net.label, init), f"{net.label}, {init}")
        for net, init in design.cases[1:]
    )
    note = f"Not judged, the difference of the alignment in other networks: {others}."
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {note}")


def judge_control(rows: Rows, design: AtStart) -> Judgement:
    """With branches that start at zero, and so without depth, the norm makes no difference to the alignment."""
    net = design.nets[0].label
    gaps = _gaps(rows, "sign_alignment", net, CONTROL_INIT)
    name = _name("sign_alignment", net, CONTROL_INIT)
    return equality(gaps, name=name, seeds=design.seeds, target=0.0, tolerance=NO_GAP)


def _gaps(rows: Rows, key: str, net: str, init: str) -> list[float]:
    return paired_differences(chosen(rows, net=net, init=init), key, "norm", "none", "batch")


def _name(key: str, net: str, init: str) -> str:
    return f"{FIGURES[key]}, no norm minus batch norm ({net}, {init})"


def draw_alignment(rows: Rows) -> alt.HConcatChart:
    """Both figures, for each network, initialization and norm."""
    points = [
        {
            **row,
            "what": f"{row['net']}, {row['init']}, {_NAMES[str(row['norm'])]}"
            + (" (control)" if row["part"] == "control" else ""),
        }
        for row in rows
    ]
    titles = {
        "sign_alignment": "Alignment of the output gradients in a batch",
        "top_class_share": "Share of the class predicted most",
    }
    return side_by_side(
        *(
            strips(
                points, Along("what", ""), Along(key, FIGURES[key] + " (0 to 1)"), title=titles[key],
                subtitle="At initialization; a dot a seed, the bar is the median",
            )
            for key in FIGURES
        )
    )  # fmt: skip


_QUICK = AtStart(
    seeds=20,
    nets=(Net("ResMLP-54", RESIDUAL, (("blocks", 54),)), Net("plain MLP-20", PLAIN, (("depth", 20),))),
    inits=("he", "torch"), data=DIGITS, device="cpu", batch=128,
)  # fmt: skip

CLAIM = Claim(
    id="gradient-alignment",
    group="normalization",
    statement=(
        "At initialization a network without batch normalization predicts one class for nearly all inputs, so that the "
        "gradients at its outputs point the same way for all samples of a batch; with it they depend on the input."
    ),
    source="Bjorck et al. 2018, Understanding batch normalization, Fig. 6",
    citation="quoted",
    prediction="Both the alignment of the output gradients and the share of the top class are larger without the norm.",
    scope=Scope(
        "residual perceptron of 54 blocks of two maps, width 64, He's initialization (quick); ResNet-110 (full); "
        "reported: a plain perceptron of 20 layers, and PyTorch's default initialization",
        "128 digits of all classes, not CIFAR-10 (quick); 128 pictures of CIFAR-10 (full)",
        "at initialization, one forward and backward pass in training mode",
    ),
    caveats=(
        "Samples whose output gradient is exactly zero (the network is sure and right) are left out of the alignment.",
        "A larger figure need not be a large one: the reason given with the verdict has other networks' differences.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, data=CIFAR, device="auto", nets=(Net("ResNet-110", RESNET, (("depth", 110),)),),
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, device="auto", batch=16,
        nets=(Net("ResMLP-3", RESIDUAL, (("blocks", 3), ("width", 8))), Net("MLP-3", PLAIN, (("depth", 3),))),
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_alignment,
    control=Control(
        "With residual branches that start at zero the alignment must be nearly the same with and without the norm.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_alignment,
)  # fmt: skip
