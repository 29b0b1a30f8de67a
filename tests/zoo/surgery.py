"""`make zoo-surgery`: norm surgery on every network of the zoo.

    python -m zoo.surgery [--only TEXT ...]

Of each network, its batch norms brought off their defaults first: `fold` keeps the outputs in eval mode to 1e-5 of
their scale in float64, and in float32 unless rounding alone does more to the unfolded network; after `recalibrate` on
one batch train and eval mode agree, dropout off; batch norms replaced by group norms, it runs forward and backward,
and every parameter that had a gradient has one; its state_dict goes into a second one replaced alike, which then
computes the same. None of it changes the original. Ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from gainstage import norm
from gainstage.norm.surgery.copying import operated
from gainstage.norm.surgery.folding import _deviation
from gainstage.norm.surgery.sites import BATCH, norm_sites
from gainstage.seeding import preserved_rng
from gainstage.trace import call
from gainstage.trace.running import outputs_of, set_mode, undisturbed
from zoo.case import SMALL, Case, Parts, Size
from zoo.cases import CASES, MISSING
from zoo.fingerprint import differences, fingerprint

FOLD_TOLERANCE = 1e-5
# Train and eval mode sum in another order; in float64 what remains is rounding magnified by small variances.
MODES_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-5}

# Norms of two values in a row turn rounding into chaos: such networks are given more samples.
FEWEST, LARGER = 8, replace(SMALL, batch=16)


@dataclass
class Row:
    """What was seen of one network: failures by operation, and figures."""

    name: str
    failed: dict[str, str] = field(default_factory=dict)
    batch_norms: int = 0
    folded: int = 0
    left: Counter[str] = field(default_factory=Counter)
    fold_deviation: float = 0.0
    fold_exact: float = 0.0
    rounding: float = 0.0
    recalibrated: int = 0
    mode_deviation: float = 0.0
    replaced: int = 0


def eval_forward(case: Case, parts: Parts) -> Callable[[nn.Module, Any], Any] | None:
    """How the network runs in eval mode, where detectors return boxes: by their feature maps."""
    detector = case.name.startswith("torchvision:") and isinstance(parts.batch, dict)
    if detector:
        return lambda model, batch: dict(model.backbone(torch.stack(batch["images"])))
    return parts.forward


def prepared(case: Case, size: Size = SMALL) -> Parts:
    """The network with batch norms whose statistics, scales and shifts are those of no new one."""
    parts = case.parts(size)
    if any(isinstance(p, nn.UninitializedParameter) for p in parts.model.parameters()):
        with torch.no_grad():
            outputs_of(parts.model, parts.batch, parts.forward)
    generator = torch.Generator().manual_seed(1)
    for site in norm_sites(parts.model):
        if site.kind in BATCH and not site.obstacle:
            for name, low, high in (("weight", 0.5, 1.5), ("bias", -0.5, 0.5), ("running_mean", -0.2, 0.2)):
                tensor = site.tensor(name)
                if tensor is not None:
                    tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return parts


def surveyed(case: Case) -> Row:
    row = Row(case.name)
    parts = prepared(case)
    row.batch_norms = sum(site.kind in BATCH for site in norm_sites(parts.model))
    before = fingerprint(parts.model, parts.batch)
    checks = {"recalibrate": check_recalibrate, "fold": check_fold}
    if row.batch_norms:
        checks |= {"replace": check_replace, "state_dict": check_round_trip}
    for name, check in checks.items():
        try:
            with preserved_rng():
                check(case, parts, row)
        except Exception as error:
            row.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    changed = differences(before, fingerprint(parts.model, parts.batch))
    if changed:
        row.failed["purity"] = f"changed: {changed[:3]}"
    return row


def check_recalibrate(case: Case, parts: Parts, row: Row, size: Size = SMALL) -> None:
    """On one batch, train and eval mode of the batch norms then compute the same."""
    forward = eval_forward(case, parts)
    model, batch = in_double(parts, forward) if row.batch_norms else (parts.model, parts.batch)
    result = norm.recalibrate(model, [batch], forward)
    if size is SMALL and min((s.values for s in result.statistics), default=FEWEST) < FEWEST:
        check_recalibrate(case, prepared(case, LARGER), row, LARGER)
        return
    row.recalibrated = len(result.changed)
    outputs = [run(result.model, batch, forward, training=training) for training in (False, True)]
    row.mode_deviation = _deviation(*outputs)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    # What a network makes of less precise parts of its own (a cast to float32) is as precise as those.
    dtypes = {dtype, *(tensor.dtype for _, tensor in call.tensors_of(outputs[0]) if tensor.is_floating_point())}
    tolerance = max(MODES_TOLERANCE.get(kind, 0.1) for kind in dtypes)
    assert row.mode_deviation <= tolerance, f"train and eval mode differ by {row.mode_deviation:.2g}"


def in_double(parts: Parts, forward: Callable[..., Any] | None) -> tuple[nn.Module, Any]:
    """The network and its batch in float64 where that runs, else as they are."""
    try:
        model = operated("survey", parts.model, inplace=False).double()
        batch = pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, parts.batch)
        run(model, batch, forward, training=False)
        return model, batch
    except Exception:
        return parts.model, parts.batch


def run(model: nn.Module, batch: Any, forward: Callable[..., Any] | None, *, training: bool) -> Any:
    """Outputs with batch norms in one mode and everything else in eval mode."""
    model = operated("survey", model, inplace=False)  # one network writes to its own weights
    for gradients in (False, True):
        try:
            with undisturbed(model, seed=0, gradients=gradients):
                set_mode(model.modules(), training=False)
                set_mode((m for m in model.modules() if isinstance(m, _BatchNorm)), training=training)
                return outputs_of(model, batch, forward)
        except Exception:
            if gradients:
                raise
    raise AssertionError


def check_fold(case: Case, parts: Parts, row: Row) -> None:
    """Exact in float64; in float32 to 1e-5, or to what rounding does to the unfolded network itself."""
    forward = eval_forward(case, parts)
    model = conditioned(parts, forward) if row.batch_norms else parts.model
    result = norm.fold(model, parts.batch, forward=forward)
    row.folded, row.fold_deviation = len(result.changed), result.deviation
    row.left.update(entry.reason for entry in result.left)
    assert row.folded + len(result.left) >= row.batch_norms
    if not row.batch_norms:
        assert result.deviation == 0
        return
    outputs = run(model, parts.batch, forward, training=False)
    deviation = _deviation(outputs, run(result.model, parts.batch, forward, training=False))
    wide, batch = in_double(replace(parts, model=model), forward)
    if wide is not model:
        exact = run(wide, batch, forward, training=False)
        row.rounding = _deviation(exact, outputs)
        row.fold_exact = norm.fold(wide, batch, forward=forward).deviation
        assert row.fold_exact <= FOLD_TOLERANCE, f"folded in float64 it differs by {row.fold_exact:.2g}"
    assert deviation <= max(FOLD_TOLERANCE, 4 * row.rounding), (
        f"differs by {deviation:.2g}, rounding by {row.rounding:.2g}"
    )


def conditioned(parts: Parts, forward: Callable[..., Any] | None) -> nn.Module:
    """The network with statistics of its batch, and with a variance in each channel that is none of two values' chance.

    What two samples have in common leaves variances near zero, and rounding grows by a factor of 1e10 on its way.
    """
    model = norm.recalibrate(parts.model, [parts.batch], forward).model
    for site in norm_sites(model):
        mean, var = site.tensor("running_mean"), site.tensor("running_var")
        if site.kind in BATCH and mean is not None and var is not None:
            var.add_(var.mean() + mean.square().mean())
    return model


def check_replace(case: Case, parts: Parts, row: Row) -> None:
    """Trains for a step: forward and backward in train mode."""
    result = norm.replace(parts.model, "batch", "group", batch=parts.batch if parts.forward is None else None)
    row.replaced = len(result.changed)
    assert row.replaced + len(result.left) >= row.batch_norms
    loss = loss_of(parts, result.model)
    loss.backward()
    assert torch.isfinite(loss)
    new = [m for m in result.model.modules() if isinstance(m, nn.GroupNorm)]
    assert len(new) >= row.replaced
    reached = {name for name, p in parts_reached(parts)}
    for name, parameter in result.model.named_parameters():
        assert name not in reached or parameter.grad is not None, f"{name} gets no gradient any more"


def parts_reached(parts: Parts) -> list[tuple[str, torch.Tensor]]:
    """Parameters that have a gradient in the original network."""
    model = operated("survey", parts.model, inplace=False)
    loss_of(parts, model).backward()
    return [(name, p) for name, p in model.named_parameters() if p.grad is not None]


def loss_of(parts: Parts, model: nn.Module) -> torch.Tensor:
    batch = pytree.tree_map_only(torch.Tensor, torch.clone, call.plain(parts.batch))
    return call.batch_loss(Parts(model, batch, parts.loss, parts.forward).subject(), model, batch)


def check_round_trip(case: Case, parts: Parts, row: Row) -> None:
    one, other = (norm.replace(parts.model, "batch", "group").model for _ in range(2))
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.mul_(1.01)
    other.load_state_dict(one.state_dict())
    forward = eval_forward(case, parts)
    assert _deviation(*(run(model, parts.batch, forward, training=False) for model in (one, other))) == 0


def summary(rows: list[Row]) -> str:
    left = sum((row.left for row in rows), Counter[str]())
    kinds: Counter[str] = Counter()
    for reason, count in left.items():
        kinds[re.sub(r"( in)? (\w+\.)+\w+", "", reason)] += count  # without paths
    lines = [
        f"networks {len(rows)}, with batch norms {sum(bool(r.batch_norms) for r in rows)}, failed "
        f"{sum(bool(r.failed) for r in rows)}, packages missing {len(MISSING)}",
        *(f"{name}: failed {sum(name in r.failed for r in rows)}"
          for name in ("recalibrate", "fold", "replace", "state_dict", "purity")),
        f"batch norms {sum(r.batch_norms for r in rows)}: recalibrated {sum(r.recalibrated for r in rows)}, "
        f"folded {sum(r.folded for r in rows)}, replaced {sum(r.replaced for r in rows)}",
        f"largest deviation: folded {max(r.fold_deviation for r in rows):.2g} (rounding of the unfolded "
        f"{max(r.rounding for r in rows):.2g}), in float64 {max(r.fold_exact for r in rows):.2g}, "
        f"above {FOLD_TOLERANCE:g}: {sum(r.fold_deviation > FOLD_TOLERANCE for r in rows)}; "
        f"between modes {max(r.mode_deviation for r in rows):.2g}",
    ]  # fmt: skip
    return "\n".join([*lines, *(f"  left unfolded {count}: {reason}" for reason, count in kinds.most_common(12))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="networks whose name contains one of these")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for case in CASES.values():
        if options.only and not any(text in case.name for text in options.only):
            continue
        start = time.perf_counter()
        row = surveyed(case)
        rows.append(row)
        print(f"{row.name:<44}{row.batch_norms:>5} norms, {row.folded:>4} folded {row.fold_deviation:.1g}, modes "
              f"{row.mode_deviation:.1g}, {time.perf_counter() - start:.1f} s", flush=True)  # fmt: skip
        for name, message in row.failed.items():
            print(f"    FAILED {name}: {message}", flush=True)
    print("\n" + summary(rows))
    return 1 if not rows or any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
