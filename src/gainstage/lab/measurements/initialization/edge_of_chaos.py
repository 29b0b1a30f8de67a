"""Training accuracy of tanh perceptrons over weight variance and depth, beside the depth scale of theory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gainstage import theory
from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.drawn_networks import mean_field_mlp
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.initialization.edge_of_chaos import EdgeDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec

# ξ diverges on the edge, and JSON knows no infinity.
_FAR = 1e6


def measure(design: EdgeDesign, seed: int) -> list[Row]:
    """Plain networks of every depth."""
    return _rows(design, seed, design.depths, skips=False)


def control(design: EdgeDesign, seed: int) -> list[Row]:
    """Networks with skips, of the largest depth."""
    return _rows(design, seed, design.depths[-1:], skips=True)


def six_depth_scales(weight_var: float, bias_var: float) -> float:
    """6ξ_c of tanh, in layers, at most a million."""
    return min(6 * theory.depth_scale_c(theory.activation("tanh"), weight_var, bias_var), _FAR)


def _rows(design: EdgeDesign, seed: int, depths: Sequence[int], *, skips: bool) -> list[Row]:
    device = device_of(design.device)
    spec = Spec(
        name="edge-of-chaos", model=mean_field_mlp, data=design.data,
        axes={"depth": depths, "scale": [math.sqrt(weight_var) for weight_var in design.weight_vars]},
        fixed={
            "width": design.width, "bias_var": design.bias_var, "skips": skips, "lr": design.lr,
            "batch_size": design.batch_size, "seed": seed,
        },
        steps=design.steps, measure=(design.steps,), metrics=("train_accuracy",), device=device,
    )  # fmt: skip
    found = final_rows(spec, keep=("depth",))
    weight_vars = [weight_var for _ in depths for weight_var in design.weight_vars]
    scales = {weight_var: six_depth_scales(weight_var, design.bias_var) for weight_var in design.weight_vars}
    return [
        {
            "depth": row["depth"], "weight_var": weight_var, "six_xi": scales[weight_var],
            "accuracy": row["train_accuracy"], "diverged": row["diverged"],
        }
        for weight_var, row in zip(weight_vars, found, strict=True)
    ]  # fmt: skip
