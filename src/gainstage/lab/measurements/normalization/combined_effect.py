"""Short trainings over initial scale, norm and learning rate."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.draws import drawn
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.normalization.combined_effect import CombinedDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec


def measure(design: CombinedDesign, seed: int) -> list[Row]:
    """Both, good initialization alone, and batch norm alone from each bad one."""
    cases = [("batch", 1.0), ("none", 1.0), *(("batch", bad) for bad in design.bad)]
    return _trained(design, seed, cases)


def control(design: CombinedDesign, seed: int) -> list[Row]:
    """Good initialization alone, and neither."""
    return _trained(design, seed, [("none", 1.0), *(("none", bad) for bad in design.bad)])


def _trained(design: CombinedDesign, seed: int, cases: Sequence[tuple[str, float]]) -> list[Row]:
    spec = Spec(
        name="combined-effect",
        model=drawn,
        data=design.data,
        points=[{"norm": norm, "scale": scale} for norm, scale in cases],
        axes={"lr": design.lrs},
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
