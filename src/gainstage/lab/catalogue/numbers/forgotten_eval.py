"""A network with batch norm that is left in training mode when it is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, combine, described, equality, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.numbers.forgotten_eval"
SMALL, LARGE = 8, 64
# Each a way to use the network: its mode, the batch size and the order of the test samples.
SHUFFLED, SORTED = "shuffled", "sorted by class"


@dataclass(frozen=True)
class EvalDesign(Design):
    """A trained network, used on the test set in both modes.

    Attributes:
        network, data: References.
        depth: Hidden layers, if the network has that option; 0: the factory's own.
        width: Of the first layer.
        steps: Updates of SGD with momentum 0.9.
        lr, batch_size: Of the training.
        limit: In accuracy and in the share of changed answers: one point in a hundred, which a user would notice.
        device: ``cpu``, or ``auto`` for CUDA where there is any.
    """

    network: str
    data: str
    depth: int
    width: int
    steps: int
    lr: float
    batch_size: int
    limit: float
    device: str


def judge_mode(rows: Rows, design: EvalDesign) -> Judgement:
    """Worse in small shuffled batches and in large sorted ones, and answers change with the batch."""
    small = _loss(rows, SMALL, SHUFFLED)
    name = f"accuracy lost by training mode, batches of {SMALL}, {SHUFFLED}"
    found = combine(
        one_sided(small, name=name, seeds=design.seeds, side="above", limit=design.limit),
        one_sided(
            _loss(rows, LARGE, SORTED), name=f"the same, batches of {LARGE}, {SORTED}", seeds=design.seeds,
            side="above", limit=design.limit,
        ),
        one_sided(
            list(per_seed(rows, "changed", kind="used", mode="train", batch=SMALL, order=SHUFFLED).values()),
            name=f"share of answers that change with another shuffling into batches of {SMALL}",
            seeds=design.seeds, side="above", limit=design.limit,
        ),
    )  # fmt: skip
    return replace(found, why=f"{found.why} {_notes(rows)}")


def judge_control(rows: Rows, design: EvalDesign) -> Judgement:
    """With layer norm the modes are the same."""
    conditions = [_loss(rows, size, order) for size in (SMALL, LARGE) for order in (SHUFFLED, SORTED)]
    lost = [sum(figures) / len(figures) for figures in zip(*conditions, strict=True)]
    # A tie that rounding breaks otherwise in another batch may turn an answer or two of some hundred.
    name = "accuracy lost by training mode with layer norm"
    return equality(lost, name=name, seeds=design.seeds, target=0.0, tolerance=0.5 * design.limit)


def _loss(rows: Rows, batch: int, order: str) -> list[float]:
    """Accuracy in evaluation mode minus that in training mode, by seed."""
    evaluated = per_seed(rows, "accuracy", kind="used", mode="eval")
    used = per_seed(rows, "accuracy", kind="used", mode="train", batch=batch, order=order)
    return [evaluated[seed] - used.get(seed, float("nan")) for seed in evaluated]


def _notes(rows: Rows) -> str:
    large = described(_loss(rows, LARGE, SHUFFLED), f"in batches of {LARGE}, {SHUFFLED}, the loss")
    fresh = per_seed(rows, "accuracy", kind="never updated")
    used = per_seed(rows, "accuracy", kind="used", mode="train", batch=LARGE, order=SHUFFLED)
    stale = described([fresh[seed] - used[seed] for seed in fresh if seed in used], "evaluation minus training mode")
    refused = any(row.get("refused") for row in rows)
    alone = " Single samples in training mode are refused by torch." if refused else ""
    return f"Not judged: {large}; if running statistics were never updated, {stale}.{alone}"


def draw_accuracy(rows: Rows) -> alt.LayerChart:
    """Accuracy for each way to use the network."""
    points = [
        {"seed": row["seed"], "what": _label(row), "accuracy": row["accuracy"]}
        for row in rows
        if row["accuracy"] is not None and (row["part"] == "claim" or row["batch"] not in (1, 2))
    ]
    return strips(
        points,
        Along("what", "mode: batch size, order"),
        Along("accuracy", "test accuracy"),
        title="Test accuracy of trained networks in evaluation and in training mode",
        subtitle="A dot a seed; bar: median. Batch norm; layer norm is the control. Never updated: running statistics",
    )


def _label(row: dict[str, float | int | str | bool | None]) -> str:
    control = "layer norm, " if row["part"] == "control" else ""
    if row["kind"] == "never updated":
        return "eval, never updated"
    return f"{control}eval" if row["mode"] == "eval" else f"{control}train: {row['batch']}, {row['order']}"


_QUICK = EvalDesign(
    seeds=8,
    network="gainstage.lab.apparatus.networks:mlp",
    data="gainstage.lab.apparatus.data:digits",
    depth=4,
    width=64,
    steps=300,
    lr=0.05,
    batch_size=64,
    limit=0.01,
    device="cpu",
)

CLAIM = Claim(
    id="forgotten-eval",
    group="numbers",
    statement=(
        "A network with batch normalization that is left in training mode when it is used gives worse answers, and "
        "different ones for the same sample, since each batch is then normalized by its own statistics."
    ),
    source="an overview article",
    citation="informal",
    prediction=(
        "More than one point of accuracy is lost in batches of 8 and in batches of 64 that are sorted by class, and "
        "more than one answer in a hundred changes with the batch; with large shuffled batches little is lost."
    ),
    scope=Scope(
        "fully connected ReLU network of 4 layers with batch norm (quick); VGG (full)",
        "digits, not CIFAR-10 (quick); CIFAR-10 (full)",
        "trained with SGD, lr 0.05, momentum 0.9, batches of 64; used in batches of 1, 2, 8 and 64",
    ),
    caveats=(
        "Large batches drawn like the training ones can show nothing: their statistics are nearly the running ones.",
        "Where running statistics do not fit the network (never updated, too few updates, other data), training mode "
        "is the better one: it hides the fault.",
        "A single sample has no variance: torch refuses it in training mode, unless it has several positions.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, network="gainstage.lab.apparatus.convnets:vgg",
            data="gainstage.lab.apparatus.data:cifar10", depth=0, steps=4000, batch_size=128, device="auto",
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, network="gainstage.lab.apparatus.convnets:vgg",
        data="gainstage.lab.apparatus.data:color_noise", depth=0, width=4, steps=5, batch_size=16,
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_mode,
    control=Control(
        "With layer norm, which has no running statistics, both modes must have the same accuracy.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracy,
)  # fmt: skip
