"""Accuracy of residual perceptrons over learning rates and batch sizes."""

from __future__ import annotations

import math
from typing import Any

from gainstage.lab.apparatus import data
from gainstage.lab.apparatus.networks import residual_mlp
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.confrontations.large_rates import VARIANTS, RateDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec


def measure(design: RateDesign, seed: int) -> list[Row]:
    """A row for each variant, batch size and learning rate."""
    return [row for variant in VARIANTS for row in _variant(design, seed, variant)]


def _variant(design: RateDesign, seed: int, variant: str) -> list[Row]:
    options: dict[str, Any] = {"norm": "batch" if variant == "batch" else "none"}
    if variant == "scaled":
        options["branch_scale"] = 1 / math.sqrt(design.blocks)
    spec = Spec(
        name=f"large-rates-{variant}", model=residual_mlp, data=data.digits,
        axes={"batch_size": design.batches, "lr": design.lrs},
        fixed={**options, "blocks": design.blocks, "width": design.width, "maps": 1, "init": "he_normal", "seed": seed},
        steps=design.steps, measure=(design.steps,), metrics=("test_accuracy",),
    )  # fmt: skip
    return [{"variant": variant, **row} for row in final_rows(spec, keep=("batch_size", "lr"))]
