"""Low precision: NUM002 overflow-headroom, NUM003 gradient-underflow, NUM004 rounded-updates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.signal import MAPS, stream
from gainstage.trace.records import LayerRecord, Trace

# bfloat16 has the range of float32: what overflows or vanishes in it does so in float32.
NARROW = "float16"
LARGEST = 65504.0
SMALLEST = 2.0**-24  # the smallest number above zero, subnormal
HEADROOM = Threshold(
    "headroom", LARGEST / 4, "largest magnitude",
    "two powers of two below the limit; rms differ by a factor of two between batches and early steps",
)  # fmt: skip
FLUSHED = Threshold(
    "flushed", SMALLEST, "rms of a gradient", "of a normal distribution of that rms 38 % lie below half of the smallest"
)
ROUNDED = Threshold("rounded", 0.5, "share of the values", "by definition: most of the step is lost")
_WIDE = "no float16 in this run: float32 and bfloat16 have range enough"


@rule(
    "NUM002", "overflow-headroom", severities=("warning",), cause="precision",
    explains=("NUM001",), claims=("overflow-before-bn",), thresholds=(HEADROOM,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 3))
        nn.init.normal_(model[0].weight, std=600.0)
        nn.init.normal_(model[2].weight, std=1.0)
        subject = gs.Subject(model.half(), (torch.randn(64, 16).half(), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 3))
        subject = gs.Subject(model.half(), (torch.randn(64, 16).half(), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def overflow_headroom(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Activations in float16 come near its largest number.

    What: an output of a layer that runs in float16 is above 16,376, a quarter of the largest float16 number, 65,504.
    Why it hurts: the next batch or the next steps may go beyond it: infinity, then NaN in the loss.
    How measured: the largest magnitude of the output of each map, norm, activation and sum of layers that ran in
        float16, under autocast or with half-precision weights.
    When it is a false alarm: masks are not looked at; a level that has been steady over a whole training.
    Fix: bfloat16, which has the range of float32; a norm or a smaller gain before the layer.
    References: Micikevicius et al. 2018, Mixed precision training.
    """
    narrow = [layer for layer in trace.layers if layer.dtype == NARROW]
    if not narrow:
        yield NotAssessed("NUM002", _WIDE)
        return
    near = [layer for layer in narrow if _is_signal(layer) and (layer.max_abs or 0.0) > HEADROOM.value]
    if not near:
        return
    worst = max(near, key=lambda layer: layer.max_abs or 0.0)
    size = worst.max_abs or 0.0
    yield Finding(
        "NUM002", "overflow-headroom", "warning", "precision", near[0].module,
        message=f"The outputs of {worst.name or 'the root'} reach {size:.3g} in float16, whose largest number is "
        f"{LARGEST:.0f}" + (f"; {counted(len(near), 'layer')} come within a quarter of it." if len(near) > 1 else "."),
        why="The next batch or a few steps may go beyond it: infinity, and then NaN in the loss.",
        advice="Use bfloat16, which has float32's range, or lower the level before it: a norm, a smaller gain.",
        value=size, threshold=HEADROOM.value, evidence={"layers": len(near), "first": near[0].name},
        layers=tuple(layer.name for layer in near),
    )  # fmt: skip


def _is_signal(layer: LayerRecord) -> bool:
    """Not a mask that is added to scores, which stands at the lowest number on purpose."""
    return layer.kind in (*MAPS, "norm", "activation") or (layer.op == "add" and len(layer.inputs) > 1)


@rule(
    "NUM003", "gradient-underflow", severities=("warning", "info"), cause="precision",
    explains=("GRD001", "OPT002", "OPT003"), thresholds=(FLUSHED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)).half()
        loss = lambda outputs, targets: 1e-5 * nn.functional.cross_entropy(outputs.float(), targets)
        subject = gs.Subject(model, (torch.randn(64, 16).half(), torch.randint(3, (64,))), loss)
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)).half()
        loss = lambda outputs, targets: nn.functional.cross_entropy(outputs.float(), targets)
        subject = gs.Subject(model, (torch.randn(64, 16).half(), torch.randint(3, (64,))), loss)
    """,
)  # fmt: skip
def gradient_underflow(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Gradients in float16 are so small that they become zero.

    What: the gradient at the output of a layer that runs in float16 has an rms below 6e-8, its smallest number.
    Why it hurts: what is below half of that number becomes exactly zero, and the layers before it learn nothing.
    How measured: the gradient's rms at the outputs of float16 maps and sums along the shortest way back from the loss,
        past residual branches. Zeros alone are not counted: rectifiers and masks make them as well. A gradient of
        nothing but zeros counts where the one behind it is below eight times that number, or where it is the loss's
        own and the loss is one whose slope is zero nowhere but at its lowest value.
    When it is a false alarm: under autocast a loss scaler that runs outside of what is measured here repairs it,
        so that it is worth knowing only. With half-precision weights a scaler does not help their update.
    Fix: scale the loss (torch.amp.GradScaler), or use bfloat16, which has the range of float32.
    References: Micikevicius et al. 2018, Mixed precision training, section 3.2.
    """
    narrow = [layer for layer in trace.layers if layer.dtype == NARROW]
    if not narrow or not trace.backward:
        yield NotAssessed("NUM003", "needs the gradients of a backward pass" if narrow else _WIDE)
        return
    way = [layer for layer in stream(trace) if layer.dtype == NARROW and layer.grad_rms is not None]
    way = [layer for layer in way if layer.kind in MAPS or layer.op == "add"]
    tiny = [
        layer
        for layer, behind in itertools.zip_longest(way, way[1:])
        if (0 < (layer.grad_rms or 0.0) < FLUSHED.value) or (layer.grad_rms == 0 and _low(behind))
    ] or (way if _all_flushed(trace, way) else [])
    if not tiny:
        return
    last = tiny[-1]
    half = any(parameter.dtype == NARROW and parameter.requires_grad for parameter in trace.parameters)
    severity: Severity = "warning" if half else "info"
    yield Finding(
        "NUM003", "gradient-underflow", severity, "precision", last.module,
        message=f"The gradient at {last.name or 'the root'} has an rms of {last.grad_rms or 0.0:.1e} in float16, whose "
        f"smallest number is {SMALLEST:.1e}"
        + (f"; so small is it at {counted(len(tiny), 'layer')}." if len(tiny) > 1 else ": a good part of it is zero."),
        why="What is smaller becomes exactly zero: the layers before it learn slowly or not at all.",
        advice="Scale the loss (torch.amp.GradScaler over float32 weights), or use bfloat16.",
        value=last.grad_rms, threshold=FLUSHED.value, evidence={"layers": len(tiny), "half_weights": half},
        layers=tuple(layer.name for layer in tiny),
    )  # fmt: skip


@rule(
    "NUM004", "rounded-updates", severities=("warning",), cause="precision", status="preview",
    explains=("OPT002", "OPT003"), thresholds=(ROUNDED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3)).bfloat16()
        subject = gs.Subject(model, (torch.randn(64, 16).bfloat16(), torch.randint(3, (64,))),
                             optimizer=torch.optim.AdamW(model.parameters(), lr=1e-5))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3)).bfloat16()
        subject = gs.Subject(model, (torch.randn(64, 16).bfloat16(), torch.randint(3, (64,))),
                             optimizer=torch.optim.AdamW(model.parameters(), lr=1e-2))
    """,
)  # fmt: skip
def rounded_updates(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Weights in half precision are not changed by steps that are too small for them.

    What: most values of bfloat16 or float16 weights that have a gradient are the same, bit for bit, after a step.
    Why it hurts: between a bfloat16 number and the next lies 1/128 of it or less: a step below half of that is rounded
        away, and so is the next one, so that nothing ever adds up.
    How measured: the first step of your optimizer at its own learning rate, made on a copy in the weights' precision.
    When it is a false alarm: a schedule that begins far below the rate that it will reach; an optimizer that keeps what
        was rounded away elsewhere, and adds it later.
    Fix: keep the weights in float32 and compute in half precision under autocast; or an optimizer with stochastic
        rounding or compensated sums.
    References: Micikevicius et al. 2018, section 3.1; Zamirai et al. 2021, Revisiting BFloat16 training.
    """
    share = trace.step.rounded_away if trace.step is not None else None
    if share is None or trace.step is None:
        yield NotAssessed("NUM004", "needs an optimizer that holds weights in half precision")
        return
    if share < ROUNDED.value or trace.step.scheduled:
        return
    yield Finding(
        "NUM004", "rounded-updates", "warning", "precision", "",
        message=f"The optimizer's first step leaves {share:.0%} of the half-precision values that have a gradient as "
        "they are, bit for bit: it is smaller than what lies between them and their neighbours.",
        why="Steps that are rounded away do not add up: these weights stay where they are, however long it trains.",
        advice="Keep the weights in float32 and run the model under torch.autocast; or use an optimizer with "
        "stochastic rounding or compensated sums.",
        value=share, threshold=ROUNDED.value,
    )  # fmt: skip


def _low(layer: LayerRecord | None) -> bool:
    return layer is not None and 0 < (layer.grad_rms or 0.0) < 8 * SMALLEST


_SMOOTH = ("log_softmax", "mse_loss", "binary_cross_entropy_with_logits")


def _all_flushed(trace: Trace, way: Sequence[LayerRecord]) -> bool:
    """Whether nothing arrives, though the loss sends something."""
    loss = trace.loss_record
    smooth = loss is not None and loss.ops[:1] in [(op,) for op in _SMOOTH]
    reads = trace.layers[loss.input] if loss is not None and loss.input is not None else None
    return smooth and trace.loss > 0 and bool(way) and reads is way[-1] and all(layer.grad_rms == 0 for layer in way)
