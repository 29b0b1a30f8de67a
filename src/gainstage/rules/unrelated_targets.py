"""Targets that belong to other inputs: DAT009 unrelated-targets, DAT010 unlearned-targets."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.tried import ignorant_loss
from gainstage.trace.records import Trace

_MEASURED = "236 programs, all looked at: set on what it was judged by (docs/thresholds.md)"
MEMORIZED = Threshold("memorized", 0.1, "× the loss of a network that knows nothing", _MEASURED)
PASSED_ON = Threshold("passed_on", 0.3, "× what targets are worth on trained batches", _MEASURED)
SURE = Threshold(
    "sure", 2.0, "standard deviations of what exchanged targets cost by chance", "one run in forty is beyond by chance"
)

_WAVES = """
    import torch, gainstage as gs
    from torch import nn
    places = torch.linspace(0, 6, 32)
    labels = torch.randint(4, (512,))
    waves = torch.sin((labels[:, None] + 1) * places + torch.rand(512, 1)) + 0.3 * torch.randn(512, 32)
    order = torch.randperm(512)
    waves, labels = waves[order], {labels}
    model = nn.Sequential(nn.Linear(32, {width}), nn.ReLU(), nn.Linear({width}, 4))
    batches = list(zip(waves.split(32), labels.split(32)))
    subject = gs.Subject(model, batches, optimizer=torch.optim.Adam(model.parameters(), lr={rate}))
    check_options = {{"steps": 200}}
"""


@rule(
    "DAT009", "unrelated-targets", severities=("warning",), cause="data", status="preview",
    explains=("OPT002", "OPT003"), thresholds=(MEMORIZED, PASSED_ON, SURE),
    bad=_WAVES.format(labels="labels", width=256, rate=1e-2),
    good=_WAVES.format(labels="labels[order]", width=256, rate=1e-2),
)  # fmt: skip
def unrelated_targets(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The network learns its training samples by heart, and nothing of it holds for others.

    What: after a trial, exchanging the targets of samples that were trained on raises the loss by more than 0.1 of that
        of a network that knows nothing, and exchanging those of samples held out by no more than chance does, and by
        less than 0.3 of that.
    Why it hurts: inputs and targets do not belong together, or too few samples show how: training loss falls all the
        same, and what is learned is of no use.
    How measured: the trained copy's loss in eval mode with the targets of each batch in 16 random orders, less that in
        their own; on batches held out against two standard deviations of chance, and with these on top. Ten different
        batches are the least.
    When it is a false alarm: a task that is memorized long before it is understood. Inputs without any order in them,
        as random numbers that stand for data, are not judged: no targets belong to them.
    Fix: shuffle inputs and targets together; look at some pairs right before they enter the model.
    References: Zhang et al. 2017, Understanding deep learning requires rethinking generalization.
    """
    trial = trace.trial
    if trial is None or trial.exchange is None:
        yield NotAssessed("DAT009", "needs a trial with batches held out, and a target for each sample")
        return
    exchange, ignorant = trial.exchange, ignorant_loss(trace)
    if not exchange.lawful:
        yield NotAssessed("DAT009", "the inputs look like numbers drawn at random, to which no targets belong")
        return
    if ignorant is None or exchange.trained <= MEMORIZED.value * ignorant:
        return
    reach = exchange.unseen + SURE.value * exchange.noise
    if exchange.unseen < SURE.value * exchange.noise and reach < PASSED_ON.value * exchange.trained:
        yield Finding(
            "DAT009", "unrelated-targets", "warning", "data", "",
            message=f"After a trial of {exchange.steps or trial.steps} steps the targets of trained samples, exchanged "
            f"with each other, cost {exchange.trained:.2g} more; those of samples held out {exchange.unseen:.2g}, with "
            f"a noise of {exchange.noise:.1g}.",
            why="Samples are learned by heart, and nothing of it holds for others: their targets seem to be another's.",
            advice="Check that inputs and targets are shuffled, sorted and cut together; look at some pairs as the "
            "model gets them. If they are right, there are too few.",
            value=reach / exchange.trained, threshold=PASSED_ON.value,
            evidence={"trained": exchange.trained, "unseen": exchange.unseen, "noise": exchange.noise},
        )  # fmt: skip


@rule(
    "DAT010", "unlearned-targets", severities=("warning",), cause="data", status="preview", explains=("OPT003",),
    thresholds=(MEMORIZED, SURE),
    bad=_WAVES.format(labels="labels", width=4, rate=1e-3),
    good=_WAVES.format(labels="labels[order]", width=4, rate=1e-3),
)  # fmt: skip
def unlearned_targets(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Nothing that the network learns has to do with which target is whose.

    What: after a long trial, exchanging the targets of samples held out raises the loss by no more than twice what
        chance does, and those of samples that were trained on by less than 0.1 of the loss of a network that knows
        nothing. It is said where no other finding explains it.
    Why it hurts: the loss falls, if it does, for what all targets have in common, as their mean and their frequencies.
    How measured: as for DAT009, after three times the steps of the trial; a sound network showed something long before.
    When it is a false alarm: a task of which nothing shows for long, as one in which single features tell nothing, or
        targets that are nearly all noise. Inputs without any order in them are not judged.
    Fix: look at some pairs as the model gets them: they may not belong together, or a norm, a crop or a scale may take
        away what the targets depend on, or all but a few targets may be the same.
    References: Zhang et al. 2017, Understanding deep learning requires rethinking generalization.
    """
    trial = trace.trial
    if trial is None or trial.exchange is None or not trial.exchange.lawful:
        yield NotAssessed("DAT010", "needs a trial with batches held out, a target for each sample, and lawful inputs")
        return
    exchange, ignorant = trial.exchange, ignorant_loss(trace)
    if ignorant is None or exchange.steps <= trial.steps or exchange.trained > MEMORIZED.value * ignorant:
        return
    if exchange.unseen < SURE.value * exchange.noise:
        yield Finding(
            "DAT010", "unlearned-targets", "warning", "data", "",
            message=f"After a trial of {exchange.steps} steps the targets of samples held out, exchanged with each "
            f"other, cost {exchange.unseen:.2g} more, with a noise of {exchange.noise:.1g}; a network that knows "
            f"nothing has a loss of {ignorant:.3g}.",
            why="Nothing was learned of what belongs to which input, only what all targets have in common.",
            advice="Look at some pairs as the model gets them: whether they belong together, whether what the targets "
            "depend on is still there, and whether all but a few targets are the same.",
            value=exchange.unseen / exchange.noise, threshold=SURE.value,
            evidence={"trained": exchange.trained, "unseen": exchange.unseen, "noise": exchange.noise},
        )  # fmt: skip
