"""INI006 initial-loss: a first loss far above that of a network that knows nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.signal import MAPS
from gainstage.rules.targets import compares
from gainstage.trace.records import LayerRecord, LossRecord, Trace
from gainstage.trace.target_records import LabelRecord

_MEASURED = "benchmarks/init_rules.py loss, development split (docs/thresholds.md)"
CERTAIN = Threshold("certain", 10.0, "× the cross-entropy of a uniform guess", _MEASURED)
LOUD_OUTPUT = Threshold("loud_output", 5.0, "rms of the outputs over that of the targets, or over 1", _MEASURED)
_TABLES = "benchmarks/table_rules.py, development split (docs/thresholds.md)"
TIED = Threshold("tied", 2.0, "× the cross-entropy of a uniform guess, read out by the embedding", _TABLES)
SPREAD = Threshold("spread", 2.0, "× the targets' standard deviation, of products of embeddings", _TABLES)
_CROSS_ENTROPIES = ("log_softmax", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
_SQUASHED = ("sigmoid", "softmax", "log_softmax")


@rule(
    "INI006", "initial-loss", severities=("warning",), cause="init",
    explains=("GRD002", "OPT001", "OPT002", "OPT003", "OPT004", "OPT005"),
    thresholds=(CERTAIN, LOUD_OUTPUT, TIED, SPREAD),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        nn.init.normal_(model[2].weight, std=5.0)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        nn.init.kaiming_normal_(model[2].weight)  # twice the level that is best, and no reason to speak
        batch = torch.randn(64, 16), torch.randint(3, (64,))
        subject = gs.Subject(model, batch, nn.CrossEntropyLoss(reduction="sum"))
    """,
)  # fmt: skip
def initial_loss(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The first loss is far above that of a network that knows nothing: the read-out is sure of what it made up.

    What: a cross-entropy above 10 times that of a uniform guess, or above 2 times where the read-out is the embedding
        itself; outputs above 5 times the rms of the targets that they are compared with, and above 5 in themselves; or
        outputs that are products of embeddings alone, with twice the targets' standard deviation.
    Why it hurts: the first steps undo what the read-out was drawn with, before anything is learned; the layers below
        are pushed by gradients that tell of that error alone.
    How measured: the mean cross-entropy over the labels that count, without weights, smoothing or reduction, against
        ln(classes), and ln 2 for probabilities; for errors of outputs against targets the outputs' rms.
    When it is a false alarm: labels that a trained model was not trained for. Not judged are logits that something
        scales or shifts on purpose (a temperature, a margin), and targets of zero.
    Fix: a smaller read-out: std 1/√fan_in or less, or zero (gs.initialize). nn.Embedding draws from N(0, 1), which is
        far too wide for a table that is multiplied with: N(0, 0.02) is usual, 1/√width at most.
    References: Glorot and Bengio 2010; Goodfellow, Bengio and Courville 2016, section 6.2.2.
    """
    loss = trace.loss_record
    if loss is None or loss.input is None or loss.name == "surrogate":
        yield NotAssessed("INI006", "needs targets, and a loss that reads a layer's output")
        return
    readout = _readout(trace, loss)
    products = _judged_products(trace, loss) if readout is None else None
    if products is not None:
        yield products
        return
    if readout is None:
        yield NotAssessed("INI006", "needs a loss that reads a map's output as it is")
        return
    if loss.ops[0] in _CROSS_ENTROPIES and loss.labels is not None and loss.labels.mean_loss is not None:
        finding = _judged_guess(readout, loss.labels, loss.labels.mean_loss, _table_of(trace, readout))
    elif compares(loss) and len(trace.outputs) == len(trace.targets) == 1:
        finding = _judged_outputs(trace, readout)
    else:
        yield NotAssessed("INI006", "knows the loss of a guess for cross-entropies and errors alone")
        return
    if finding is not None:
        yield finding


def _readout(trace: Trace, loss: LossRecord) -> LayerRecord | None:
    """The map whose output the loss reads as it is, or squashed; None where something else stands between."""
    layer = trace.layers[loss.input or 0]
    if loss.via or not loss.ops:
        return None
    if layer.op in _SQUASHED and not layer.via and len(layer.inputs) == 1:
        layer = trace.layers[layer.inputs[0]]
    return layer if layer.kind in MAPS else None


def _table_of(trace: Trace, readout: LayerRecord) -> LayerRecord | None:
    """The embedding whose weight the read-out uses once more."""
    own = set(readout.parameters)
    return next(
        (layer for layer in trace.layers if layer.kind == "embedding" and own.intersection(layer.parameters)), None
    )


def _judged_products(trace: Trace, loss: LossRecord) -> Finding | None:
    """Of outputs that are made of embeddings alone, as in a factorization of ratings."""
    tables = [layer for layer in trace.layers if layer.kind == "embedding"]
    if not tables or any(layer.kind in (*MAPS, "norm", "activation") for layer in trace.layers) or not compares(loss):
        return None
    if not len(trace.outputs) == len(trace.targets) == 1:
        return None
    ours, theirs = trace.outputs[0].std, trace.targets[0].std
    if not ours or not theirs or ours <= SPREAD.value * theirs:
        return None
    return Finding(
        "INI006", "initial-loss", "warning", "init", tables[0].module,
        message=f"The first outputs, products of {counted(len(tables), 'embedding')}, have a standard deviation of "
        f"{ours:.3g}, the targets one of {theirs:.3g}.",
        why="Rows that are seen rarely keep what they were drawn with, and their products stay noise.",
        advice="Draw the embeddings smaller, as nn.init.normal_(table.weight, std=0.1 / width ** 0.25); nn.Embedding "
        "draws from N(0, 1).",
        value=ours / theirs, threshold=SPREAD.value, evidence={"kind": "table", "outputs": ours, "targets": theirs},
        layers=tuple(layer.name for layer in tables),
    )  # fmt: skip


def _judged_guess(readout: LayerRecord, labels: LabelRecord, loss: float, table: LayerRecord | None) -> Finding | None:
    classes = max(labels.classes or 2, 2)
    guess = math.log(classes)
    ratio = loss / guess
    limit = CERTAIN if table is None else TIED
    if ratio <= limit.value:
        return None
    among = f"a uniform guess among {classes} classes" if labels.classes else "a guess of one half"
    if table is not None:
        return replace(
            _finding(
                readout, ratio, limit.value,
                f"The first cross-entropy is {loss:.3g}, {ratio:.3g} times the {guess:.3g} of {among}: the read-out is "
                f"the embedding {table.module or table.name}, whose weights have an rms of "
                f"{readout.weight_rms or 0.0:.2g}.",
                {"loss": loss, "guess": guess},
            ),
            advice="Draw the embedding with std 0.02, or 1/√width; nn.Embedding draws from N(0, 1), which is too wide "
            "to be read out with.",
            evidence={"kind": "table", "loss": loss, "guess": guess, "weight_rms": readout.weight_rms}, fix=None,
        )  # fmt: skip
    return _finding(
        readout, ratio, CERTAIN.value,
        f"The first cross-entropy is {loss:.3g}, {ratio:.3g} times the {guess:.3g} of {among}; the outputs "
        f"of {readout.name} have an rms of {readout.rms or 0.0:.3g}.",
        {"loss": loss, "guess": guess},
    )  # fmt: skip


def _judged_outputs(trace: Trace, readout: LayerRecord) -> Finding | None:
    ours, theirs = trace.outputs[0].rms, trace.targets[0].rms
    if not ours or not theirs or trace.outputs[0].shape != trace.targets[0].shape:
        return None
    # Targets that are small in themselves are DAT003's; outputs of unit scale come down to them soon.
    ratio = ours / max(theirs, 1.0)
    if ratio <= LOUD_OUTPUT.value:
        return None
    return _finding(
        readout, ratio, LOUD_OUTPUT.value,
        f"The first outputs have an rms of {ours:.3g}, the targets one of {theirs:.3g}: the squared error is about "
        f"{(ours / theirs) ** 2:.2g} times that of answering zero.",
        {"outputs": ours, "targets": theirs},
    )  # fmt: skip


def _finding(readout: LayerRecord, value: float, threshold: float, message: str, evidence: dict[str, float]) -> Finding:
    return Finding(
        "INI006", "initial-loss", "warning", "init", readout.module, message=message,
        why="The first steps go into undoing what the read-out was drawn with, before anything is learned.",
        advice=f"Draw {readout.name} smaller: std 1/√fan_in or less, or zeros.", value=value, threshold=threshold,
        evidence={**evidence, "weight_rms": readout.weight_rms}, layers=(readout.name,),
        fix=Fix("INI006", "", "Draw the weights anew, the read-out's for unit scale (gs.initialize).", "reinitialize",
                {"scheme": "auto", "seed": 0}),
    )  # fmt: skip
