"""Batch norm over depth: NRM012 deep-norm-no-skip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gainstage import theory
from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.prediction import activation_of
from gainstage.rules.signal import gradient_change, main_path
from gainstage.trace.records import LayerRecord, Trace

_MEASURED = "benchmarks/norm_depth.py (docs/thresholds.md)"
GROWTH = Threshold("growth", 2.0, "decades of a sample's gradient norm", _MEASURED)
_PUBLISHED = "there beyond MobileNet v1, which trains well and reaches 2.34 at its authors' initialization"
GRAVE_GROWTH = Threshold("grave_growth", 2.5, "decades of a sample's gradient norm", _PUBLISHED)
SHARE = Threshold("share", 0.5, "of the measured growth", "a cause explains at least half of what it causes")


@rule(
    "NRM012", "deep-norm-no-skip", severities=("warning", "info"), cause="depth", status="preview",
    thresholds=(GROWTH, GRAVE_GROWTH, SHARE),
    explains=("GRD002", "OPT001", "OPT003", "OPT004", "OPT005"), claims=("bn-gradient-explosion",),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(40) for m in (nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())]
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.map, self.norm = nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64)
            def forward(self, x):
                return x + self.norm(self.map(x)).relu()
        blocks = [Block() for _ in range(40)]
        subject = gs.Subject(nn.Sequential(*blocks, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def deep_norm_no_skip(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Many batch norms without skips: together they make the gradient explode.

    What: a chain of maps, batch norms and activations, with nothing added or joined in between, along which a sample's
        gradient norm grows by more than 300 towards the input, at least half of it (in decades) by what theory gives to
        batch norm; from 100 on for information.
    Why it hurts: each batch norm with ReLU multiplies the squared gradient by π/(π - 1) = 1.47, whatever the weights
        are: no initialization removes it. A step that is small enough for the first layers leaves the last where they
        are.
    How measured: the gradient norm of a sample at the first map over that at the last; beside it the sum over batch
        norms of log10 √(E φ′²/Var φ), for the activation φ behind each.
    When it is a false alarm: training slowly is not failing: with warm-up, small steps and patience such a network may
        come to the same loss. MobileNet v1, of 27 batch norms, does, and is reported for information only. Networks
        with skips, and up to 20 layers or so without, are not reported.
    Fix: skip connections; they turn growth by a factor a layer into growth by a power of the depth.
    References: Yang et al. 2019, A mean field theory of batch normalization; He et al. 2016.
    """
    norms = _batch_norms(_chain(trace))
    if not norms:
        return
    if not trace.backward:
        yield NotAssessed("NRM012", "needs the gradients of a backward pass")
        return
    change, predicted = gradient_change(trace), predicted_growth(trace)
    if change is None or change < GROWTH.value or predicted < SHARE.value * change:
        return
    grave = change >= GRAVE_GROWTH.value
    yield Finding(
        "NRM012", "deep-norm-no-skip", "warning" if grave else "info", "depth", norms[0].module,
        message=f"{counted(len(norms), 'batch norm')} in a chain without skips: a sample's gradient norm grows by "
        f"10^{change:.1f} on its way back, and theory gives 10^{predicted:.1f} to the norms, whatever the weights are.",
        why="Each batch norm before a ReLU multiplies the gradient by 1.21: no one step size fits first and last "
        "layers.",
        advice="Add skip connections around every one or two layers, or take norms out.",
        value=10**change, threshold=10 ** (GRAVE_GROWTH if grave else GROWTH).value,
        evidence={"decades": change, "predicted_decades": predicted, "norms": len(norms)},
        layers=tuple(layer.name for layer in norms),
    )  # fmt: skip


def predicted_growth(trace: Trace) -> float:
    """Decades by which batch norms make a sample's gradient norm grow; 0 where branches join."""
    path = _chain(trace)
    return sum(_decades(path, position) for position, layer in enumerate(path) if _is_batch_norm(layer))


def _chain(trace: Trace) -> tuple[LayerRecord, ...]:
    """The way from the input to the loss, empty where anything joins it."""
    path = main_path(trace)
    return () if any(len(layer.inputs) > 1 or layer.op == "add" for layer in path) else path


def _batch_norms(path: Sequence[LayerRecord]) -> list[LayerRecord]:
    return [layer for layer in path if _is_batch_norm(layer)]


def _is_batch_norm(layer: LayerRecord) -> bool:
    return layer.norm is not None and layer.norm.type == "batch" and layer.norm.uses_batch_statistics


def _decades(path: Sequence[LayerRecord], position: int) -> float:
    """Of one batch norm with the activation that reads it; 0 for one that theory does not know."""
    behind = path[position + 1] if position + 1 < len(path) else None
    act = activation_of(behind if behind is not None and behind.kind == "activation" else None)
    return 0.0 if act is None else _growth(act)


@lru_cache(maxsize=256)
def _growth(act: theory.Activation) -> float:
    return 0.5 * math.log10(theory.batch_norm_gradient_factor(act))
