"""What batch norms keep for inference: NRM002 train-eval-gap, NRM009 shared-norm, NRM010 norm-momentum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.normalization import SCALE, SHIFT, VALUES, batch_norms, off_statistics
from gainstage.rules.signal import MAPS, consumers
from gainstage.trace.records import LayerRecord, NormRecord, Trace

KERAS = Threshold(
    "keras_momentum", 0.9, "weight of the new batch", "Keras' and JAX's momentum is one less torch's: 0.9 and 0.99"
)
COLD = Threshold("cold", 0.5, "weight of the initial 0 and 1 after the trial", "half of what inference uses is no data")
_RUNS = "2.5 times the most of 16 sound runs (digits, momentum 0.1 and 0.01, four optimizers), which is "
GAP = Threshold("gap", 1.0, "batch standard deviations, rms over channels", _RUNS + "0.40")
GAP_SCALE = Threshold("gap_scale", 4.0, "ratio of variances, either way", _RUNS + "1.6")
WARM = Threshold("warm", 0.01, "weight of the initial 0 and 1", "as there, where the figures are of weights up to 0.02")
SAMPLES = Threshold("samples", 16, "samples", "positions of one sample are not independent: 1/√16 is 25 %")
ENOUGH = Threshold("enough", 100, "values per channel", "the error of a variance, √(2/(n-1)), is 14 %")
_ENDS = "networks for development of make accuracy (docs/thresholds.md)"
LOSS_GAP = Threshold("loss_gap", 3.0, "× the loss in training mode", _ENDS + ": healthy ones reach 2.2")
UNLEARNED = Threshold("unlearned", 0.1, "× the first loss, in eval mode", _ENDS)
TRIAL = Threshold("trial", 200, "steps of a trial that tell", "a momentum of 0.01, as in use, is warm to 13 % then")


@rule(
    "NRM002", "train-eval-gap", severities=("warning", "info"), cause="normalization",
    thresholds=(GAP, GAP_SCALE, WARM, SAMPLES, ENOUGH, LOSS_GAP, UNLEARNED, TRIAL),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        for _ in range(100):
            model(torch.randn(128, 16))
        # This batch was not scaled as those before it.
        subject = gs.Subject(model, (torch.randn(128, 16) * 4 + 2, torch.randint(3, (128,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
        for _ in range(100):
            model(torch.randn(128, 16))
        subject = gs.Subject(model, (torch.randn(128, 16), torch.randint(3, (128,))))
    """,
)  # fmt: skip
def train_eval_gap(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Running statistics are far from those of the batch, though they have seen enough batches.

    What: batch norms in training mode whose running mean is off the batch's by more than a standard deviation, or
        whose running variance by more than a factor of four; or a trial of 200 steps after which the loss in eval mode
        is three times that in training mode on the same batches, and a tenth of the first one.
    Why it hurts: training normalizes by the batch and inference by the running statistics: the network computes
        something else in the two modes.
    How measured: rms distance of the channels' means in batch standard deviations, and geometric mean of the ratio of
        variances; where the updates that were counted have taken the initial 0 and 1 to a weight of 1 %. Fresh
        statistics, cumulative averages, which lag by design, and batches of few samples are not judged. After a
        trial the two modes of its copy are compared, where its statistics are as warm.
    When it is a false alarm: a batch that is not like the training data (random numbers). A pretrained network on new
        data starts so and is over it after some 3/momentum steps; without an optimizer that has made steps the
        finding is therefore for information only.
    Fix: the same preparation of data in both modes; statistics computed anew after training (recalibration).
    References: Ioffe 2017; Wu and Johnson 2021, Rethinking "batch" in batch norm.
    """
    tracked = [
        (layer, norm) for layer, norm in batch_norms(trace)
        if norm.uses_batch_statistics and norm.initial_statistics is not None and norm.first_call is None
    ]  # fmt: skip
    if not tracked:
        return
    if _apart_after_trial(trace) and all(_left_after_trial(trace, norm) <= WARM.value for _, norm in tracked):
        yield _two_modes(trace, tracked)
        return
    warm = [(layer, norm) for layer, norm in tracked if _warm(norm)]
    if not warm:
        yield NotAssessed("NRM002", "no running statistics are warm: too few updates, not counted, or cumulative")
        return
    judged = [
        (layer, norm) for layer, norm in warm
        if norm.values_per_statistic >= ENOUGH.value and (layer.batch_size or 0) >= SAMPLES.value
        and norm.batch_shift is not None and norm.batch_scale_ratio is not None
    ]  # fmt: skip
    if not judged:
        yield NotAssessed("NRM002", f"needs {SAMPLES.value:.0f} samples and {ENOUGH.value:.0f} values a channel")
        return
    apart = [(layer, norm) for layer, norm in judged if _gap(norm)]
    if not apart:
        return
    layer, norm = max(apart, key=lambda pair: pair[1].batch_shift or 0.0)
    training = trace.optimizer is not None and trace.optimizer.stepped
    yield Finding(
        "NRM002", "train-eval-gap", "warning" if training else "info", "normalization", layer.module,
        message=f"{len(apart)} of {counted(len(judged), 'batch norm')} with running statistics far from this batch's: "
        f"at {layer.name or 'the root'} by {norm.batch_shift:.2g} standard deviations in mean and "
        f"×{norm.batch_scale_ratio:.2g} in variance, after {counted(norm.updates or 0, 'update')}.",
        why="Training uses the batch's statistics and inference the running ones: the two compute different things.",
        advice="See that this batch is prepared as in training; else train on, or recompute the running statistics.",
        value=norm.batch_shift, threshold=GAP.value,
        evidence={"batch_scale_ratio": norm.batch_scale_ratio, "layers": len(apart), "updates": norm.updates},
        layers=tuple(record.name for record, _ in apart),
    )  # fmt: skip


def _apart_after_trial(trace: Trace) -> bool:
    """Whether the copy that a trial has trained computes something else in eval mode, and worse."""
    trial = trace.trial
    if trial is None or trial.evaluation is None or trial.steps < TRIAL.value:
        return False
    # What else differs in eval mode (a softmax, decoding) is no matter of the norms.
    in_eval, in_train = trial.evaluation.norms_in_eval, trial.evaluation.in_train
    return (
        in_eval is not None
        and in_train >= 0
        and in_eval > LOSS_GAP.value * in_train
        and not in_eval <= UNLEARNED.value * trial.losses[0]
    )


def _left_after_trial(trace: Trace, norm: NormRecord) -> float:
    """The weight of the initial statistics after it."""
    steps = 0 if trace.trial is None else trace.trial.steps
    return (1 - (norm.momentum or 0.0)) ** ((norm.updates or 0) + steps)


def _two_modes(trace: Trace, tracked: Sequence[tuple[LayerRecord, NormRecord]]) -> Finding:
    assert trace.trial is not None
    assert trace.trial.evaluation is not None
    in_eval, in_train = trace.trial.evaluation.norms_in_eval or 0.0, trace.trial.evaluation.in_train
    layer = tracked[0][0]
    return Finding(
        "NRM002", "train-eval-gap", "warning", "normalization", layer.module,
        message=f"After a trial of {trace.trial.steps} steps the loss is {in_train:.3g} in training mode and "
        f"{in_eval:.3g} with batch norms in eval mode, on the same batches: {counted(len(tracked), 'batch norm')}, "
        f"first {layer.name or 'the root'}, normalize by other statistics there.",
        why="What is trained is not what inference computes: validation looks as if nothing had been learned.",
        advice="Take larger batches, keep dropout behind batch norms and inputs near zero mean, or use group norm.",
        value=in_eval / in_train if in_train else None, threshold=LOSS_GAP.value,
        evidence={"kind": "after a trial", "in_eval": in_eval, "in_train": in_train},
        layers=tuple(record.name for record, _ in tracked),
    )  # fmt: skip


def _warm(norm: NormRecord) -> bool:
    """Whether the initial 0 and 1 weigh next to nothing after this many updates; not known of cumulative averages."""
    if not norm.updates or norm.momentum is None or norm.initial_statistics or not 0 < norm.momentum <= 1:
        return False
    return (1 - norm.momentum) ** norm.updates <= WARM.value


def _gap(norm: NormRecord) -> bool:
    return (norm.batch_shift or 0.0) > GAP.value or _factor(norm.batch_scale_ratio) > GAP_SCALE.value


def _factor(ratio: float | None) -> float:
    """The ratio or its inverse, the larger."""
    return 1.0 if ratio is None else math.exp(abs(math.log(max(ratio, 1e-300))))


@rule(
    "NRM009", "shared-norm", severities=("warning",), cause="normalization", explains=("NRM002",),
    thresholds=(SHIFT, SCALE),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second, self.head = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 3)
                self.norm = nn.BatchNorm1d(64)
            def forward(self, x):
                x = self.norm(self.first(x)).relu()
                return self.head(self.norm(self.second(x)).relu())
        subject = gs.Subject(Net(), (torch.randn(64, 16) * 3, torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Twins(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(8, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())
                self.head = nn.Linear(64, 3)
            def forward(self, x):
                return self.head(self.body(x[:, :8]) - self.body(x[:, 8:]))
        subject = gs.Subject(Twins(), (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def shared_norm(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """One batch norm stands at several places of the network, with different statistics.

    What: a batch norm in training mode that normalizes the outputs of different layers for different readers.
    Why it hurts: in training each place is normalized by its own batch; in inference all get one average of both,
        which fits neither. One scale and one shift serve both, too.
    How measured: the statistics of the module's calls on this batch against each other, where layers before and
        layers behind are different ones.
    When it is a false alarm: twins, pyramids and recurrent cells, which call norm and layers together, are not
        reported; nor is a norm at places with equal statistics.
    Fix: a norm of its own for each place.
    References: Ioffe and Szegedy 2015, section 3.1; Cooijmans et al. 2017 on statistics for each call.
    """
    read_by = consumers(trace.layers)
    apart = [
        (layer, layer.norm, trace.layers[layer.norm.first_call]) for position, layer in enumerate(trace.layers)
        if layer.norm is not None and layer.norm.first_call is not None and _apart(layer.norm)
        and _different_places(trace.layers, read_by, layer.norm.first_call, position)
    ]  # fmt: skip
    if not apart:
        return
    layer, norm, first_call = apart[0]
    shared = len({first.name for _, _, first in apart})
    yield Finding(
        "NRM009", "shared-norm", "warning", "normalization", layer.module,
        message=f"{counted(shared, 'batch norm')} at more than one place: {first_call.name or 'the root'} and "
        f"{layer.name} are one module, but what they read differs by {norm.call_shift:.2g} standard deviations in mean "
        f"and ×{norm.call_scale_ratio:.2g} in variance.",
        why="Training normalizes each place by its own batch, but inference both by one average, which fits neither.",
        advice="Give each place a batch norm of its own.",
        value=norm.call_shift, threshold=SHIFT.value,
        evidence={"call_scale_ratio": norm.call_scale_ratio, "modules": shared},
        layers=tuple(record.name for record, _, _ in apart),
    )  # fmt: skip


def _apart(norm: NormRecord) -> bool:
    if norm.call_shift is None or norm.call_scale_ratio is None or not norm.uses_batch_statistics:
        return False
    if norm.values_per_statistic < VALUES.value:
        return False
    return norm.call_shift > SHIFT.value or _factor(norm.call_scale_ratio) > SCALE.value


def _different_places(layers: Sequence[LayerRecord], read_by: Sequence[Sequence[int]], one: int, other: int) -> bool:
    """Whether the nearest maps before both, and the nearest behind both, have no parameter in common."""
    before = [_nearest(layers, [layer.inputs for layer in layers], end) for end in (one, other)]
    behind = [_nearest(layers, read_by, end) for end in (one, other)]
    return all(bool(a) and bool(b) and not a & b for a, b in (before, behind))


def _nearest(layers: Sequence[LayerRecord], ways: Sequence[Sequence[int]], start: int) -> set[str]:
    """The parameters of the first maps on every way from here."""
    found: set[str] = set()
    seen, waiting = {start}, list(ways[start])
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        if layers[here].kind in MAPS:
            found.update(layers[here].parameters)
        else:
            waiting.extend(ways[here])
    return found


@rule(
    "NRM010", "norm-momentum", severities=("warning", "info"), cause="normalization",
    explains=("NRM002",), thresholds=(KERAS, COLD, LOSS_GAP, UNLEARNED, TRIAL),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64, momentum=0.0), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64, momentum=None), nn.ReLU(), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def norm_momentum(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The running statistics of batch norms cannot become those of the data.

    What: a momentum of 0, with which they stay what they are, off the data; of 1, with which they are those of the
        last batch alone; beyond 0 and 1, with which they run away; one so small that after a trial of 200 steps more
        than half of the statistics is still the initial 0 and 1, and the loss in eval mode shows it. For information:
        0.9 and more, and so small a one where no such loss does.
    Why it hurts: training looks right, for it uses the batch's statistics; inference uses the running ones.
    How measured: the momentum of each batch norm in training mode; after k updates with momentum m the initial values
        have the weight (1 - m)^k. None, a cumulative average, is fine.
    When it is a false alarm: a momentum of 0 that freezes statistics which fit the data is not reported. A momentum of
        1 is right for one batch that stands for all.
    Fix: momentum=0.1, or None for the average of all batches.
    References: Ioffe and Szegedy 2015, section 3.1; torch.nn.BatchNorm2d on what momentum means.
    """
    tracked = [
        (layer, norm, norm.momentum) for layer, norm in batch_norms(trace)
        if norm.uses_batch_statistics and norm.momentum is not None
    ]  # fmt: skip
    for judge in (_stuck, _last_batch, _swapped, _cold):
        found = judge(trace, tracked)
        if found is not None:
            yield found
            return


Tracked = tuple[LayerRecord, NormRecord, float]


def _stuck(_trace: Trace, tracked: list[Tracked]) -> Finding | None:
    found = [
        entry for entry in tracked if entry[2] == 0 and (entry[1].initial_statistics or off_statistics(entry[1]))
    ]  # fmt: skip
    if not found:
        return None
    what = "the initial 0 and 1" if found[0][1].initial_statistics else "which do not describe this data"
    return _momentum(found, "warning", f"the running statistics never move from what they are, {what}", 0.0)


def _last_batch(_trace: Trace, tracked: list[Tracked]) -> Finding | None:
    found = [entry for entry in tracked if not 0 <= entry[2] < 1]
    if not found:
        return None
    what = "are those of the last batch alone" if found[0][2] == 1 else "do not settle"
    return _momentum(found, "warning", f"the running statistics {what}", 1.0)


def _swapped(_trace: Trace, tracked: list[Tracked]) -> Finding | None:
    found = [entry for entry in tracked if KERAS.value <= entry[2] < 1]
    if not found:
        return None
    what = f"which in torch is the weight of the new batch: what Keras and JAX call {1 - found[0][2]:.3g}"
    return _momentum(found, "info", what, KERAS.value)


def _cold(trace: Trace, tracked: list[Tracked]) -> Finding | None:
    steps = 0 if trace.trial is None else trace.trial.steps
    left = {layer.name: _left_after_trial(trace, norm) for layer, norm, _ in tracked}
    found = [
        entry for entry in tracked
        if steps and entry[2] > 0 and entry[1].initial_statistics and left[entry[0].name] > COLD.value
    ]  # fmt: skip
    if not found:
        return None
    share = left[found[0][0].name]
    what = f"after {counted(steps, 'step')} {share:.0%} of the running statistics are still the initial 0 and 1"
    if not _apart_after_trial(trace) or trace.trial is None or trace.trial.evaluation is None:
        return _momentum(found, "info", what, COLD.value)
    ends = trace.trial.evaluation
    what += (
        f", and the loss is {ends.norms_in_eval or 0.0:.3g} in eval mode against {ends.in_train:.3g} in training mode"
    )
    return _momentum(found, "warning", what, COLD.value)


def _momentum(found: list[Tracked], severity: Severity, what: str, threshold: float) -> Finding:
    layer, norm, momentum = found[0]
    return Finding(
        "NRM010", "norm-momentum", severity, "normalization", layer.module,
        message=f"{counted(len(found), 'batch norm')}, first {layer.name or 'the root'}, with momentum {momentum:g}: "
        f"{what}.",
        why="Training uses the batch's statistics and looks right; inference uses the running ones and will not.",
        advice="Use momentum=0.1, or None for the average of all batches; or set them once after training.",
        value=momentum, threshold=threshold, evidence={"layers": len(found), "updates": norm.updates},
        layers=tuple(record.name for record, _, _ in found),
    )  # fmt: skip
