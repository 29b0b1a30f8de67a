"""Short trainings of sigmoid networks over depth, norm, initial scale and learning rate."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.lab.apparatus.draws import drawn
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.normalization.bn_sigmoid import SigmoidDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec

MLP = "gainstage.lab.apparatus.networks:mlp"


def measure(design: SigmoidDesign, seed: int) -> list[Row]:
    """All depths with batch norm from a = 1, and without from each scale."""
    return _trained(design, seed, design.depths, design.scales)


def control(design: SigmoidDesign, seed: int) -> list[Row]:
    """One hidden layer, from a = 1."""
    return _trained(design, seed, (1,), (1.0,))


def _trained(design: SigmoidDesign, seed: int, depths: Sequence[int], scales: Sequence[float]) -> list[Row]:
    spec = Spec(
        name="bn-sigmoid",
        model=drawn,
        data=design.data,
        points=[{"norm": "batch", "scale": 1.0}, *({"norm": "none", "scale": scale} for scale in scales)],
        axes={"depth": depths, "lr": design.lrs},
        fixed={
            "network": MLP, "draws": "glorot", "activation": "sigmoid", "width": design.width,
            "inputs": design.inputs, "batch_size": design.batch_size, "seed": seed,
        },
        steps=design.steps,
        measure=[design.steps],
        metrics=("train_loss", "test_accuracy"),
    )  # fmt: skip
    return final_rows(spec, keep=("depth", "norm", "scale", "lr"))
