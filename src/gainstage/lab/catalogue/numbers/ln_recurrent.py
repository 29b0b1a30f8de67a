"""Layer norm keeps the hidden state of a recurrent network in its range; batch norm mixes sequences of other lengths.

Prediction. Layer norm gives every step's summed inputs the mean square 1, so the state h = φ(N(...)) has the same size
at every step and for any recurrent matrix: it is flat by construction. Without a norm a ReLU state grows as gain^t.
Gradients are another matter: at each step layer norm divides by the size of all that is summed, inputs included, so
that a gradient shrinks by the state's share in it, which is less the smaller the recurrent matrix is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import (
    Judgement,
    bound,
    combine,
    described,
    identity,
    number,
    one_sided,
    per_seed,
    worst_per_seed,
)

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.numbers.ln_recurrent"
NAMES = {"none": "no norm", "layer": "layer norm", "batch": "batch norm a step"}


@dataclass(frozen=True)
class RecurrentDesign(Design):
    """Plain recurrent networks, untrained over noise and trained on pictures read pixel by pixel.

    Attributes:
        data: A reference; a feature is a step.
        width: Of the state.
        batch: Sequences of noise, and of pictures for the test of padding.
        horizon: Steps of the noise.
        gains: Of the recurrent matrix; 1 keeps the size of a state without inputs.
        growing: The gain of the control, above 1.
        control_nets: Networks of the control for each seed.
        train_steps, lr: Updates of Adam and its rate; a gradient's norm is clipped at 1.
        padding: Zeros put before each test sequence, after training.
        tolerance: Relative, float64: what rounding may change in an output.
        changed: Relative change of an output that must be reached with batch norm. Half of the mates end at half of
            the sequence, so that a step's variance halves there: a hundredth is far below what follows.
    """

    data: str
    width: int
    batch: int
    horizon: int
    gains: tuple[float, ...]
    growing: float
    control_nets: int
    train_steps: int
    lr: float
    padding: int
    tolerance: float
    changed: float

    @property
    def flat(self) -> float:
        """A change of the state's size by a factor of 2 over the whole sequence, as a slope a step."""
        return math.log(2) / self.horizon


def judge_recurrent(rows: Rows, design: RecurrentDesign) -> Judgement:
    """Flat with layer norm at every gain; padding of other sequences changes nothing with it, and much with BN."""
    found = combine(
        one_sided(
            list(worst_per_seed(rows, "state_drift", kind="drift", norm="layer").values()),
            name="largest |slope| a step of ln rms h_t with layer norm, over gains, ReLU and tanh",
            seeds=design.seeds, side="below", limit=design.flat,
        ),
        identity(
            list(per_seed(rows, "change", kind="padding", norm="layer").values()),
            name="change of an output when other sequences are cut and padded (layer norm)", tolerance=design.tolerance,
        ),
        bound(
            [design.changed - change for change in per_seed(rows, "change", kind="padding", norm="batch").values()],
            name=f"{design.changed:g} ≤ the same change with batch norm", tolerance=0.0,
        ),
    )  # fmt: skip
    return replace(found, why=f"{found.why} Not judged: {'; '.join([*_slopes(rows, design), *_trained(rows)])}.")


def judge_control(rows: Rows, design: RecurrentDesign) -> Judgement:
    """Without a norm a ReLU state grows, by half of ln gain a step or more."""
    slopes = list(per_seed(rows, "state_slope", kind="drift", gain=design.growing).values())
    limit = 0.5 * math.log(design.growing)
    name = f"slope a step of ln rms h_t without norm, ReLU, gain {design.growing:g}"
    return one_sided(slopes, name=name, seeds=design.seeds, side="above", limit=limit)


def _slopes(rows: Rows, design: RecurrentDesign) -> list[str]:
    """What the gradients do at the smallest and the largest gain, and the state with batch norm."""
    ends = (design.gains[0], design.gains[-1])
    found = [
        described(
            list(per_seed(rows, "gradient_slope", kind="drift", activation="relu", norm=norm, gain=gain).values()),
            f"slope of ln rms ∂L/∂h_t towards earlier steps, ReLU, gain {gain:g}, {NAMES[norm]},",
        )
        for gain in ends
        for norm in ("none", "layer")
    ]
    batch = list(worst_per_seed(rows, "state_drift", kind="drift", norm="batch").values())
    return [*found, described(batch, "largest |slope| of the state with batch norm a step")]


def _trained(rows: Rows) -> list[str]:
    found: list[str] = []
    for norm, name in NAMES.items():
        accuracy = per_seed(rows, "accuracy", kind="trained", norm=norm)
        padded = per_seed(rows, "padded_accuracy", kind="trained", norm=norm)
        found.append(described(list(accuracy.values()), f"test accuracy with {name}"))
        found.append(described([accuracy[seed] - padded[seed] for seed in accuracy], "lost with zeros before"))
    return found


def draw_states(rows: Rows) -> alt.HConcatChart:
    """The size of the state and of its gradient over the sequence, for each norm, at the outer gains."""
    steps = chosen(rows, kind="step")
    gains = sorted({number(row["gain"]) for row in steps if row["part"] == "claim"})
    ends = (gains[0], gains[-1])
    points = [{**row, "what": _label(row)} for row in steps if row["part"] == "control" or _shown(row, ends)]
    columns = {"log_state": "log10 rms of the state", "log_gradient": "log10 rms of ∂L/∂h"}
    charts = [
        curves(
            points,
            Along("step", "step"),
            Along(column, title),
            Along("what", "norm, gain"),
            title=f"{title}, by step",
            subtitle="ReLU, noise as input, untrained; bold: median, faint: seeds",
        ).properties(width=400)
        for column, title in columns.items()
    ]
    return side_by_side(*charts)


def _label(row: dict[str, float | int | str | bool | None]) -> str:
    return f"{NAMES[str(row['norm'])]}, {row['gain']:g}{' (control)' if row['part'] == 'control' else ''}"


def _shown(row: dict[str, float | int | str | bool | None], gains: tuple[float, float]) -> bool:
    """The outer gains, with layer norm and without; the state with batch norm would lie on that with layer norm."""
    return row["norm"] in ("none", "layer") and row["gain"] in gains


_QUICK = RecurrentDesign(
    seeds=5,
    data="gainstage.lab.apparatus.data:digits",
    width=64,
    batch=32,
    horizon=128,
    gains=(0.25, 0.5, 1.0, 2.0, 4.0),
    growing=2.0,
    control_nets=4,
    train_steps=80,
    lr=0.003,
    padding=8,
    tolerance=1e-12,
    changed=0.01,
)

CLAIM = Claim(
    id="ln-recurrent",
    group="numbers",
    statement=(
        "Layer normalization stabilizes the hidden state of recurrent networks over long sequences; batch "
        "normalization does not fit them, since its statistics differ from step to step and mix sequences of "
        "different lengths."
    ),
    source="an overview article; Ba, Kiros & Hinton 2016, Layer Normalization",
    citation="quoted",
    prediction=(
        "With layer norm the size of h_t changes by less than a factor of 2 over the whole sequence at any recurrent "
        "scale; cutting and padding other sequences of a batch changes an output with batch norm, not with layer norm."
    ),
    scope=Scope(
        "plain recurrent networks, ReLU and tanh, no LSTM; norm of the summed inputs of each step",
        "normal noise (state, gradients); digits read pixel by pixel, 64 steps (padding, accuracy); MNIST subset, 784 "
        "steps (full)",
        "recurrent scale 1/4 to 4 times the one that keeps the state (full: to 2), 128 steps (full: 256); a short "
        "training",
    ),
    caveats=(
        "Flat by construction: layer norm fixes the size of what enters the activation, trained or not.",
        "It is the state that stays, not its gradient: towards earlier steps that shrinks by the state's share in what "
        "is summed at each step, so that with a small recurrent matrix it vanishes with layer norm too.",
        "The copy task, on which memory over long sequences is often tried, is not among the data, nor is an LSTM.",
        "A tanh state is bounded without any norm too; the difference is in unbounded activations.",
        "Batch norm with statistics for each step keeps the state's size as well, and others train recurrent networks "
        "with it (Cooijmans et al. 2016); what it cannot do is keep sequences of a batch apart, or step past the "
        "length that it has statistics for.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, data="gainstage.lab.apparatus.data:mnist_5k", width=128, horizon=256,
            gains=(0.25, 0.5, 1.0, 2.0), train_steps=1000, padding=28,
        ),
    },
    smoke=replace(_QUICK, seeds=2, width=8, batch=8, horizon=8, gains=(0.5, 2.0), train_steps=2),
    measure=Deferred(_HOME, "measure"),
    judge=judge_recurrent,
    control=Control(
        "Without a norm the state of a ReLU network with a large recurrent matrix must grow from step to step.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_states,
)  # fmt: skip
