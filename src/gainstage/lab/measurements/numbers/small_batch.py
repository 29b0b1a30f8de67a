"""The test error after the same number of epochs, over the batch size and the norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.numbers.small_batch import NORMS, SmallBatchDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec
from gainstage.sweep.data import loaded


def measure(design: SmallBatchDesign, seed: int) -> list[Row]:
    """With each norm, at each batch size."""
    return _rows(design, seed, NORMS, design.batches)


def control(design: SmallBatchDesign, seed: int) -> list[Row]:
    """Without a norm, at the smallest and the largest batch."""
    return _rows(design, seed, ("none",), (design.batches[0], design.batches[-1]))


def specification(design: SmallBatchDesign, seed: int, norms: Sequence[str], size: int) -> Spec:
    """Runs at one batch size, with its learning rate and its number of updates."""
    spec = Spec(
        name="small-batch",
        model=design.network,
        data=design.data,
        axes={"norm": norms},
        fixed={
            "depth": design.depth, "width": design.width, "seed": seed, "init": "he_normal", "batch_size": size,
            "lr": design.lr_at_32 * size / 32, "schedule": "cosine",
            "momentum": design.momentum, "weight_decay": design.weight_decay,
        },
        measure=(0,),
        metrics=("test_accuracy",),
        device=device_of(design.device),
    )  # fmt: skip
    steps = design.epochs * (loaded(spec).samples // size)
    return replace(spec, steps=steps, measure=(steps,))


def _rows(design: SmallBatchDesign, seed: int, norms: Sequence[str], sizes: Sequence[int]) -> list[Row]:
    found = list[Row]()
    for size in sizes:
        # One by one: at such batches a run's work is too little to share, and norms differ in structure.
        runs = final_rows(specification(design, seed, norms, size), keep=("norm", "batch_size"), mode="looped")
        found += [{**run, "test_error": _error(run)} for run in runs]
    return found


def _error(run: Row) -> float | None:
    accuracy = run["test_accuracy"]
    return 1 - accuracy if isinstance(accuracy, float) else None
