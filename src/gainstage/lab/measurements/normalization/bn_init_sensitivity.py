"""Accuracy after a short training over the scale of the initial weights and the learning rate."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.draws import CENTERED, drawn
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.normalization.bn_init_sensitivity import SensitivityDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec


def measure(design: SensitivityDesign, seed: int) -> list[Row]:
    """With batch norm and without."""
    return _trained(design, seed, ("none", "batch"))


def control(design: SensitivityDesign, seed: int) -> list[Row]:
    """Without a norm, and with one that takes the mean away and leaves the scale."""
    return _trained(design, seed, ("none", CENTERED))


def _trained(design: SensitivityDesign, seed: int, norms: Sequence[str]) -> list[Row]:
    spec = Spec(
        name="bn-init-sensitivity",
        model=drawn,
        data=design.data,
        axes={"norm": norms, "scale": design.scales, "lr": design.lrs},
        fixed={
            **dict(design.options), "network": design.network, "draws": "he", "batch_size": design.batch_size,
            "seed": seed,
        },
        steps=design.steps,
        measure=[design.steps],
        metrics=("train_loss", "test_accuracy"),
        device=device_of(design.device),
    )  # fmt: skip
    # Large networks fill a GPU one at a time.
    mode = "vectorised" if design.device == "cpu" else "looped"
    return final_rows(spec, keep=("norm", "scale", "lr"), mode=mode)
