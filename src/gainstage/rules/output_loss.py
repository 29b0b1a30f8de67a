"""What the network ends in against what the loss takes: ACT004 output-loss-mismatch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, rule
from gainstage.rules.value_outputs import Verdict, before_values
from gainstage.trace.records import LayerRecord, LossRecord, Trace
from gainstage.trace.target_records import AskedLoss, LabelRecord


@rule(
    "ACT004", "output-loss-mismatch", severities=("error", "warning", "info"), cause="loss",
    explains=("OPT002", "OPT003", "INI006", "GRD001", "GRD003", "DAT007"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3), nn.Softmax(dim=1))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))), nn.CrossEntropyLoss())
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3), nn.LogSoftmax(dim=1))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))), nn.NLLLoss())
    """,
)  # fmt: skip
def output_loss_mismatch(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The network's last operation does not fit the loss.

    What: softmax, sigmoid, tanh or a rectifier before cross-entropy; softmax before log-softmax; sigmoid before
        BCE-with-logits; anything but probabilities before BCE; raw outputs before NLL, KL divergence or CTC; a bounded
        output for targets beyond its bounds; softmax over the samples instead of the classes, or over a single output;
        a rectifier whose outputs are all zero; a loss that is the same whatever the outputs are, as one that compares
        the samples of a batch is for a batch of one. Warning: cross-entropy against rows of several ones; squared
        errors of softmax against one-hot targets; a batch norm right before squared errors against targets of three
        times its level. Of losses that are written by hand, what they showed when they were asked; of several that are
        added up, each.
    Why it hurts: the loss squashes a second time, or takes logarithms of what are no probabilities: gradients
        shrink, and the loss has a floor that it cannot go below (1.46 for softmax twice over ten classes). Softmax of
        a single output is 1, and cross-entropy over a single class 0, whatever the weights are.
    How measured: the operation that produced what the loss reads, and the operations of the loss, as they ran.
    When it is a false alarm: log-softmax before cross-entropy changes nothing, log-softmax of log-softmax being
        itself; it is reported as worth knowing only. So is tanh: it bounds the loss, and cost no accuracy
        (docs/accuracy.md).
    Fix: drop the output's activation, or take the loss that expects it.
    References: Goodfellow, Bengio and Courville 2016, section 6.2.2.
    """
    loss = trace.loss_record
    if loss is not None and loss.labels is not None and loss.labels.improper:
        whole = trace.first_non_finite is None
        yield _improper(loss, loss.labels, trace) if whole else NotAssessed("ACT004", "the outputs are not finite")
        return
    if loss is None or not (loss.ops or loss.indifferent) or loss.name == "surrogate":
        yield NotAssessed("ACT004", "needs a loss: the batch has no targets")
        return
    if loss.squashes_sum and any((layer.batch_size or 0) > 1 for layer in trace.layers):
        yield _summed(loss)
        return
    if loss.input is None or not loss.ops:
        if loss.indifferent:
            yield _indifferent(loss, trace)
            return
        yield NotAssessed("ACT004", "the layer that the loss reads could not be traced")
        return
    for read in (loss, *_parts(loss, trace)):
        layer = trace.layers[read.input or 0]
        verdict = _mismatch(layer, read, trace)
        if verdict is not None:
            yield _finding(layer, read, verdict)
            return
    if loss.indifferent:
        yield _indifferent(loss, trace)


def _parts(loss: LossRecord, trace: Trace) -> Iterator[LossRecord]:
    """The losses that a loss adds up, each as if it were the whole, but for the first, which stands for it."""
    sizes = {math.prod(target.shape) for target in trace.targets}
    for part in dict.fromkeys(loss.parts):
        told = part.op not in _PAIRED or math.prod(trace.layers[part.input].shape) in sizes
        if told and (part.op, part.input) != (loss.ops[0], loss.input):
            yield LossRecord("part", loss.chosen, (part.op,), part.input, part.via)


def _finding(layer: LayerRecord, loss: LossRecord, verdict: Verdict) -> Finding:
    fix = Fix(
        "ACT004", layer.module, f"Let the loss read what {layer.op} reads: one of the two is enough.",
        "drop_output_activation", {"module": layer.module, "op": layer.op},
    )  # fmt: skip
    # A rectifier at the end is wrong before whatever loss follows.
    cause = "activation" if layer.op in _RECTIFIERS else verdict.cause
    return Finding(
        "ACT004", "output-loss-mismatch", verdict.severity, cause, layer.module, message=verdict.what,
        why=verdict.why,
        advice=verdict.advice, evidence={"op": layer.op, "loss": " + ".join(loss.ops[:3])},
        fix=fix if verdict.fixable and _droppable(layer) else None, layers=(layer.name,),
    )  # fmt: skip


def _indifferent(loss: LossRecord, trace: Trace) -> Finding:
    """Of a loss that was the same for all outputs, as one that compares the samples of a batch is for a single one."""
    alone = {layer.batch_size for layer in trace.layers} - {None} == {1}
    return Finding(
        "ACT004", "output-loss-mismatch", "error", "batch-size" if alone else "loss", "",
        message=f"The loss of this batch is {trace.loss:.3g}, whatever the outputs are"
        + (": it holds one sample, and the loss has nothing to compare it with." if alone else "."),
        why=_MUTE,
        advice="Take batches of many samples: of accumulated gradients none sees more than its own batch." if alone
        else "Look at what the loss does with the outputs: what it compares, what a mask leaves of them.",
        value=trace.loss, evidence={"op": None, "loss": " + ".join(loss.ops[:3]), "samples": 1 if alone else None},
    )  # fmt: skip


def _summed(loss: LossRecord) -> Finding:
    """Of a loss that takes the sigmoid of what all samples come to together, as of differences between two scores."""
    return Finding(
        "ACT004", "output-loss-mismatch", "error", "loss", "",
        message="The loss sums up what it says of all samples, and takes the sigmoid of that one number.",
        why="A sum over a batch lies on the sigmoid's plateau after a few steps, or from the start: the sure samples "
        "speak for all, and the gradient of every one is as good as zero.",
        advice="Sum over the features alone, take the sigmoid or its logarithm for each sample, and then the mean.",
        evidence={"op": None, "loss": " + ".join(loss.ops[:4])},
    )  # fmt: skip


def _improper(loss: LossRecord, labels: LabelRecord, trace: Trace) -> Finding:
    layer = None if loss.input is None else trace.layers[loss.input]
    spread = [(output.min, output.max) for output in trace.outputs if output.min is not None]
    reach = f", from {spread[0][0]:.3g} to {spread[0][1]:.3g}" if len(spread) == 1 else ""
    ending = f" The model ends in {' and '.join((layer.op, *layer.via))}." if layer is not None else ""
    return Finding(
        "ACT004", "output-loss-mismatch", "error", "loss", layer.module if layer else "",
        message=f"BCE expects probabilities, which {labels.improper} of {labels.count} outputs are not{reach}.{ending}",
        why="The loss takes logarithms of its input, and torch ends the run here.",
        advice="Use BCEWithLogitsLoss on raw outputs, which applies the sigmoid itself; or end the model in a sigmoid.",
        value=float(labels.improper), threshold=0.0,
        evidence={"op": layer.op if layer else None, "loss": labels.op}, layers=(layer.name,) if layer else (),
    )  # fmt: skip


_FREE = "Nothing keeps the outputs from all being one, which costs nothing and says nothing."
_ENDLESS = "The outputs run off, and the loss falls without the network becoming any better."
_TWICE = "It costs time and hides the logits, but changes neither loss nor gradient."


_FALLING = "The loss is minus what the model says of the right class: it falls without the model becoming any better."
_ONE_WINS = "The outputs of a sample compete, so that what is right beside the first label counts as wrong."
_NEIGHBOURS = "What is said of a sample depends on the others in its batch, and its classes do not sum to one."
_MUTE = "What is said is the same whatever the weights are: none of them has a gradient."
_LOGARITHM = (
    "The logarithm of what is zero or less is no number, or a constant where it is clamped: nothing is learned."
)


_RECTIFIERS = ("relu", "relu6")
_PAIRED = ("mse_loss", "smooth_l1_loss", "huber_loss")


def _droppable(layer: LayerRecord) -> bool:
    """A module can be taken out; of functions, only those that leave the loss what it needs to be computed."""
    return ":" not in layer.name or layer.op in ("softmax", "log_softmax", "sigmoid")


def _mismatch(layer: LayerRecord, loss: LossRecord, trace: Trace) -> Verdict | None:
    beside = len(trace.returned) > 1 and len(trace.outputs) == 1 and trace.outputs[0].shape != layer.shape
    summed = set(loss.via) <= {"dropout", "sum", "mean"}
    if layer.op in _RECTIFIERS and layer.zero_fraction == 1 and summed and not beside:
        what = f"The model ends in {layer.op}, and its outputs are zero for every sample: none of them has a gradient."
        return Verdict(
            "error",
            what,
            f"Remove the {layer.op}, or start with a bias that lets it pass.",
            fixable=True,
            cause="activation",
            why=_MUTE,
        )
    averaged = loss.ops[0] == "kl_div" and set(loss.via) <= {"dropout", "sum", "mean"}
    if set(loss.via) - {"dropout"} and not averaged:  # something between the layer and the loss changes what it reads
        return _above_zero(loss)
    if loss.asked is not None and loss.asked.takes == "nothing":
        what = f"The loss applies a {loss.ops[0].removeprefix('_')} to the outputs and then another: sure and wrong "
        what += "answers cost little more than undecided ones."
        return Verdict("error", what, "Give the outputs to the second one as they are.")
    if loss.labels is not None and loss.labels.classes == 1 and loss.ops[0] == "log_softmax":
        what = "Cross-entropy over a single output is 0, whatever the model says."
        return Verdict(
            "error", what, "Give the model one output per class, or use BCEWithLogitsLoss for two classes.", why=_MUTE
        )
    if beside:
        return None  # heads side by side in one tensor: which of them the loss cuts out is not known
    one_wins = loss.chosen or loss.of_torch
    if one_wins and loss.name in ("CrossEntropyLoss", "cross_entropy") and (several := _several_labels(trace)):
        what = f"The targets of a sample hold {several:.3g} ones on average, and cross-entropy lets one class win."
        return Verdict("warning", what, "Use BCEWithLogitsLoss, which judges each label by itself.", why=_ONE_WINS)
    if layer.op == "softmax" and not loss.via and (several := _several_labels(trace)):
        what = f"The targets of a sample hold {several:.3g} ones on average, and the outputs of a softmax sum to one."
        return Verdict("error", what, "End the model in a sigmoid, with BCELoss.", cause="activation", why=_ONE_WINS)
    alone = len(trace.outputs) != 1 or trace.outputs[0].shape == layer.shape  # and no scores of candidates in a row
    if loss.ops[0] == "log_softmax" and len(layer.shape) == 2 and layer.shape[1] == 1 and not loss.via and alone:
        what = "Cross-entropy over a single output is 0, or a constant, whatever the model says."
        return Verdict("error", what, "Use BCEWithLogitsLoss for a single output, or one output per class.", why=_MUTE)
    if layer.op in ("softmax", "log_softmax"):
        misplaced = _misplaced_softmax(layer)
        if misplaced is not None:
            return misplaced
    named = loss.of_torch and loss.name in ("KLDivLoss", "kl_div", "CTCLoss", "ctc_loss")
    logarithms = named or loss.ops[0] in ("kl_div", "_ctc_loss")
    if logarithms and layer.op != "log_softmax":
        what = f"{loss.name if loss.name != 'part' else loss.ops[0]} expects log-probabilities, and the model ends in "
        what += f"{layer.op}."
        return Verdict("error", what, "End the model in log-softmax.", why=_FALLING)
    if loss.ops[0] == "log_softmax":
        return _before_cross_entropy(layer)
    if loss.ops[0] == "nll_loss" and layer.op == "log_softmax" and (twice := _squashed_before(layer, trace)):
        what = f"The model applies log-softmax to the output of {twice.op}."
        return Verdict("error", what, f"Remove the {twice.op}: log-softmax takes logits.")
    if loss.ops[0] == "binary_cross_entropy_with_logits" and layer.op in (
        "sigmoid",
        "softmax",
        "hardsigmoid",
        "relu",
    ):
        what = f"The model ends in {layer.op}, and BCE-with-logits applies a sigmoid of its own."
        return Verdict("error", what, f"Remove the {layer.op}, or use BCELoss.", fixable=layer.op == "sigmoid")
    if loss.ops[0] == "binary_cross_entropy" and layer.op not in ("sigmoid", "softmax", "hardsigmoid"):
        what = f"BCE expects probabilities, and the model ends in {layer.op}."
        return Verdict("error", what, "Use BCEWithLogitsLoss, which applies the sigmoid itself.", why=_LOGARITHM)
    if loss.ops[0] == "nll_loss" and layer.op != "log_softmax":
        what = f"NLL expects log-probabilities, and the model ends in {layer.op}."
        return Verdict(
            "error", what, "Use CrossEntropyLoss on the logits, or end the model in log-softmax.", why=_FALLING
        )
    if loss.ops[0] in _PAIRED:
        return before_values(layer, trace)
    if loss.asked is not None:
        return _before_hand_written(layer, loss.asked, trace)
    return _before_several(layer, loss, trace)


# What ends in one of these has outputs below zero, or zeros, whatever it learns.
_UNFIT = (
    "relu",
    "relu6",
    "tanh",
    "hardtanh",
    "softsign",
    "leaky_relu",
    "prelu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "linear",
)


def _before_hand_written(layer: LayerRecord, asked: AskedLoss, trace: Trace) -> Verdict | None:
    """Of a loss that showed what it takes when it was asked."""
    if asked.takes == "values":
        return before_values(layer, trace)
    unfit = layer.op in _UNFIT or layer.kind in ("linear", "conv", "norm")
    if asked.takes == "probabilities" and unfit:
        what = f"The loss takes logarithms of the outputs as probabilities, and the model ends in {layer.op}."
        instead = "sigmoid" if asked.each else "softmax"
        return Verdict(
            "error", what, f"End the model in a {instead}, or use a loss on logits without one.", why=_LOGARITHM
        )
    if asked.takes == "probabilities" and not asked.each and not asked.normalizes and layer.op in _SEPARATE:
        what = f"The loss reads the probability of the right class alone, and the model ends in {layer.op}: "
        what += "ones for all classes are the best answer."
        return Verdict(
            "error", what, f"End the model in a softmax, or use CrossEntropyLoss without the {layer.op}.", why=_FREE
        )
    if asked.takes == "shares" and unfit:
        what = f"The loss measures how far the outputs overlap the targets, and the model ends in {layer.op}: values "
        what += "beyond 0 and 1 lower it without end."
        return Verdict("error", what, "End the model in a sigmoid, or a softmax.", why=_ENDLESS)
    if asked.takes == "logits" and not asked.each:
        return _before_cross_entropy(layer)
    if asked.takes == "logits" and layer.op in (*_SEPARATE, "softmax", "relu", "relu6"):
        what = f"The model ends in {layer.op}, and the loss applies a sigmoid of its own."
        return Verdict("error", what, f"Remove the {layer.op}: the loss takes logits of either sign.")
    if asked.takes == "log-probabilities" and layer.op not in ("log_softmax", "log_sigmoid") and _positive(trace):
        what = f"The loss takes log-probabilities, and the model ends in {layer.op}."
        return Verdict(
            "error", what, "Use CrossEntropyLoss on the logits, or end the model in log-softmax.", why=_FALLING
        )
    return None


_SEPARATE = ("sigmoid", "hardsigmoid")


def _positive(trace: Trace) -> bool:
    return len(trace.outputs) == 1 and (trace.outputs[0].max or 0.0) > 0


_REMAKING = frozenset(("mm", "bmm", "addmm", "baddbmm", "matmul", "dot", "mv", "einsum", "logit", "log", "linear"))


def _before_several(layer: LayerRecord, loss: LossRecord, trace: Trace) -> Verdict | None:
    """Of a loss that adds up several, as BCE and dice: one of them squashes what is squashed already."""
    logits = "binary_cross_entropy_with_logits" in loss.ops
    # What a product or a logarithm makes of the outputs may be any number.
    remade = _REMAKING.intersection(loss.ops)
    if len(trace.outputs) != 1 or not logits or remade or layer.op not in ("relu", "relu6", "sigmoid", "softmax"):
        return None
    what = (
        f"The model ends in {layer.op}, and a part of the loss is BCE-with-logits, which applies a sigmoid of its own."
    )
    return Verdict("error", what, f"Remove the {layer.op}: the loss takes logits of either sign.")


def _squashed_before(layer: LayerRecord, trace: Trace) -> LayerRecord | None:
    """What squashes the output right before a log-softmax, or None."""
    if len(layer.inputs) != 1 or set(layer.via) - {"dropout"}:
        return None
    before = trace.layers[layer.inputs[0]]
    return before if before.op in ("softmax", "sigmoid", "hardsigmoid", "relu", "relu6") else None


def _several_labels(trace: Trace) -> float:
    """How many ones a row of targets has, where they are zeros and ones and not one a row; else 0."""
    if len(trace.targets) != 1 or len(trace.outputs) != 1 or trace.targets[0].shape != trace.outputs[0].shape:
        return 0.0
    target = trace.targets[0]
    if len(target.shape) < 2 or target.min != 0 or target.max != 1 or not target.mean or not target.rms:
        return 0.0
    ones = target.mean * target.shape[1]
    return ones if math.isclose(target.mean, target.rms**2, rel_tol=1e-4) and ones > SEVERAL_ONES else 0.0


def _misplaced_softmax(layer: LayerRecord) -> Verdict | None:
    """Of a softmax whose outputs do not sum to one over the classes of a sample, or over nothing else than one."""
    dim = int((layer.attributes or {}).get("dim", -1))
    if not layer.shape or dim < 0:
        return None
    if layer.shape[dim] == 1:
        value = 1 if layer.op == "softmax" else 0
        what = f"The model ends in {layer.op} over a single output, which is {value} whatever the weights are."
        return Verdict(
            "error", what, "Use a sigmoid for a single output, or one output per class.", cause="activation", why=_MUTE
        )
    if dim == 0 and len(layer.shape) > 1 and layer.shape[0] == layer.batch_size:
        what = f"The model ends in {layer.op} over dimension 0: over {layer.shape[0]} samples, not over the outputs."
        return Verdict(
            "error",
            what,
            f"Name the dimension of the classes: {layer.op}(x, dim=-1), or dim=1 for images.",
            cause="activation",
            why=_NEIGHBOURS,
        )
    return None


def _before_cross_entropy(layer: LayerRecord) -> Verdict | None:
    if layer.op in ("softmax", "sigmoid", "hardsigmoid", "relu", "relu6"):
        what = f"The model ends in {layer.op}, and cross-entropy applies a log-softmax of its own"
        what += ", to negative logits too." if layer.op.startswith("relu") else "."
        return Verdict("error", what, f"Remove the {layer.op}: cross-entropy takes logits.", fixable=True)
    if layer.op in ("tanh", "hardtanh", "softsign"):
        what = (
            f"The model ends in {layer.op}, and logits between -1 and 1 keep cross-entropy from going below a floor, "
        )
        what += "which is 0.8 for ten classes and higher for more."
        return Verdict("info", what, f"Remove the {layer.op}: cross-entropy takes logits of any size.", fixable=True)
    if layer.op == "log_softmax":
        what = "The model ends in log-softmax, and cross-entropy applies it again: harmless, but done twice."
        return Verdict("info", what, "Remove it, or use NLLLoss.", fixable=True, why=_TWICE)
    return None


def _above_zero(loss: LossRecord) -> Verdict | None:
    """Of what NLL takes for logarithms of probabilities, and what is positive on average."""
    if loss.ops[0] != "nll_loss" or loss.labels is None or (loss.labels.mean_loss or 0.0) >= 0:
        return None
    what = f"NLL expects log-probabilities, and its mean is {loss.labels.mean_loss:.3g}: these are none."
    return Verdict("error", what, "Use CrossEntropyLoss on the logits, or end the model in log-softmax.", why=_FALLING)


SEVERAL_ONES = 1.05  # one a row, and room for rounding
