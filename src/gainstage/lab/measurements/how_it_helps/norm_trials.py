"""Training runs with batch norm and with what stands in its place."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.apparatus.walk import DATA, NETWORKS
from gainstage.lab.catalogue.how_it_helps.norm_trials import TrialDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec


def noisy(design: TrialDesign, seed: int) -> list[Row]:
    """None, batch norm, and batch norm with noise behind it."""
    return _rows(design, seed, ("none", "batch", "noisy"), design.scales, design.lrs)


def loud(design: TrialDesign, seed: int) -> list[Row]:
    """Batch norm without noise and with ten times as much."""
    return _rows(design, seed, ("batch", "loud"), design.scales, design.control_lrs)


def lp(design: TrialDesign, seed: int) -> list[Row]:
    """Batch norm and the three p-norms."""
    return _rows(design, seed, ("batch", "l1", "l2", "linf"), design.scales, design.lrs)


def plain(design: TrialDesign, seed: int) -> list[Row]:
    """Batch norm and none."""
    return _rows(design, seed, ("batch", "none"), design.scales, design.control_lrs)


def _rows(
    design: TrialDesign, seed: int, norms: Sequence[str], scales: Sequence[float], lrs: Sequence[float]
) -> list[Row]:
    spec = Spec(
        name="norm-trials",
        model=NETWORKS.get(design.network, design.network),
        data=DATA.get(design.data, design.data),
        axes={"norm": norms, "scale": scales, "lr": lrs},
        fixed={**dict(design.options), "seed": seed, "batch_size": design.batch_size},
        steps=design.steps,
        measure=(design.steps,),
        metrics=("train_loss", "train_accuracy", "test_accuracy"),
        device=device_of(design.device),
    )
    return final_rows(spec, keep=("norm", "scale", "lr"))
