"""A VGG trained with batch normalization and without, on true and on shuffled labels."""

from __future__ import annotations

from gainstage.lab.apparatus.convnets import vgg
from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.how_it_helps.vgg_accuracy import PAPER, VggDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec


def measure(design: VggDesign, seed: int) -> list[Row]:
    """Trained on the data as they are."""
    return _rows(design, seed, design.data, design.steps)


def control(design: VggDesign, seed: int) -> list[Row]:
    """Trained on shuffled labels."""
    return _rows(design, seed, design.shuffled, design.control_steps)


def _rows(design: VggDesign, seed: int, data: str, steps: int) -> list[Row]:
    spec = Spec(
        name="vgg-accuracy",
        model=vgg,
        data=data,
        axes={"norm": tuple(PAPER)},
        fixed={
            "width": design.width, "seed": seed, "init": "he_normal", "lr": design.lr,
            "batch_size": design.batch_size,
        },
        steps=steps,
        measure=(steps,),
        metrics=("train_accuracy", "test_accuracy"),
        device=device_of(design.device),
    )  # fmt: skip
    return final_rows(spec, keep=("norm",), mode="looped")
