"""What the rules on the learning rate say of rates whose runs are known: recall, and false alarms on fine ones.

    python benchmarks/step_rules.py FOLDER [--set development|test] [--every 2] [--longest 200]

For each setting of `lr_settings.py` and every second rate of the exhaustive sweep (`lr_sweeps.py`, whose stores FOLDER
holds) the weights of the first seed are checked at that rate: the first step alone, and with trials of 50, 100 and 200
steps. A rate is

    too high  above 1.5 times the edge of the sweep
    fine      if its runs make at least 0.8 of the best one's progress
    too low   below a thirtieth of the best rate, if they make less than 0.3 of it

and otherwise not judged. Thresholds are set on the development set, so that no fine rate gets a warning.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from learning_rate import task
from lr_settings import Setting
from lr_sweeps import Found, chosen, rates, swept

from gainstage.diagnosis.first_step import first_step
from gainstage.diagnosis.trial import short_trial
from gainstage.landscape import curvature
from gainstage.rules import RULES, Finding
from gainstage.trace import Subject, Trace, record
from gainstage.trace.training_records import OptimizerRecord, TrialRecord

CODES = ("OPT001", "OPT002", "OPT003", "OPT004", "OPT005")
TRIALS = (0, 50, 100, 200)
LABELS = ("too low", "fine", "too high")


@dataclass(frozen=True)
class Judged:
    """One rate of one setting: what it is, and which rules warned, by the length of the trial.

    Attributes:
        curvature: The loss's largest curvature at the start times the rate, of plain gradient descent.
    """

    setting: str
    rate: float
    label: str
    trace: Trace
    curvature: float | None
    warned: dict[int, tuple[str, ...]]


def label(found: Found, rate: float) -> str:
    """What the sweep says of a rate; empty if it is not judged."""
    best = found.finals[found.best]
    # The level lies a tenth of the way from knowing nothing to the best end.
    progress = 1 - (found.finals[rate] - best) / ((found.level - best) / 0.9)
    if rate > 1.5 * found.edge:
        return "too high"
    if progress >= 0.8:
        return "fine"
    return "too low" if rate < found.best / 30 and progress < 0.3 else ""


def judged(setting: Setting, folder: Path, every: int, longest: int) -> Iterator[Judged]:
    found = swept(setting, folder)
    given = task(setting, 0)
    subject = Subject(given.model, given.batches, optimizer=given.updates)
    base = record(subject)
    sharpness = curvature(subject, most=6).sharpness if setting.optimizer == "sgd" else None
    for rate in rates(setting.optimizer)[::every]:
        what = label(found, rate)
        if what:
            for group in given.updates.param_groups:
                group["lr"] = rate
            trace = replace(base, optimizer=OptimizerRecord("", (rate,)), step=first_step(subject))
            if longest:
                trace = replace(trace, trial=short_trial(subject, longest))
            lengths = [steps for steps in TRIALS if steps <= longest]
            product = None if sharpness is None else rate * sharpness
            yield Judged(setting.name, rate, what, trace, product, {steps: warned(trace, steps) for steps in lengths})


def warned(trace: Trace, steps: int) -> tuple[str, ...]:
    """Codes of the warnings and errors with a trial of so many steps: its losses are the first of a longer one."""
    losses = trace.trial.losses[:steps] if trace.trial else ()
    trace = replace(trace, trial=TrialRecord(steps, losses) if steps else None)
    results = [result for rule in RULES if rule.code in CODES for result in rule.check(trace)]
    return tuple(result.code for result in results if isinstance(result, Finding) and result.severity != "info")


def report(entries: list[Judged]) -> None:
    counts = Counter(entry.label for entry in entries)
    print("\n" + " " * 18 + "".join(f"{name:>16s}" for name in LABELS))
    print(f"{'rates':18s}" + "".join(f"{counts[name]:16d}" for name in LABELS))
    for steps in TRIALS:
        for code in CODES:
            hits = Counter(entry.label for entry in entries if code in entry.warned.get(steps, ()))
            if hits:
                row = "".join(f"{hits[name]:8d} ({hits[name] / max(1, counts[name]):4.0%})" for name in LABELS)
                print(f"{code} {f'trial {steps}' if steps else 'step alone':11s}{row}")
    for entry in entries:
        false = {steps: codes for steps, codes in entry.warned.items() if codes and entry.label == "fine"}
        if false:
            print("false alarm:", entry.setting, entry.rate, false, _levels(entry.trace))
    print("\nof the fine rates, the most extreme:")
    fine = [entry for entry in entries if entry.label == "fine"]
    found = figures([entry.trace for entry in fine])
    found["curvature times rate, plain"] = [entry.curvature for entry in fine if entry.curvature is not None]
    for name, values in found.items():
        if values:
            print(f"  {name:34s} {min(values):10.3g} to {max(values):10.3g}")


def _levels(trace: Trace) -> str:
    """The trial's medians by fifths."""
    losses = trace.trial.losses if trace.trial else ()
    share = max(1, len(losses) // 5)
    return " ".join(f"{median(losses[at : at + share]):.3g}" for at in range(0, 5 * share, share) if losses[at:])


def figures(traces: list[Trace]) -> dict[str, list[float]]:
    """What thresholds are set on, of each trace."""
    steps = [trace.step for trace in traces if trace.step is not None]
    return {
        "loss after the step, relative": [
            (s.loss_after or 0.0) / max(s.loss or 0.0, s.zero_loss or 0.0, 1e-12) for s in steps
        ],
        "promise, with momentum": [(s.promise or 0.0) * s.accumulation for s in steps],
        "largest ratio, with momentum": [s.most.ratio * s.accumulation for s in steps if s.most],
        "loss, relative to zero outputs": [(s.loss or 0.0) / (s.zero_loss or 1.0) for s in steps],
        "loss after 200 steps, relative": [
            median(t.trial.losses[-40:]) / median(t.trial.losses[:5]) for t in traces if t.trial is not None
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=("development", "test"), default="test")
    parser.add_argument("--every", type=int, default=2, help="of the sweep's rates")
    parser.add_argument("--longest", type=int, choices=TRIALS, default=max(TRIALS), help="steps of the longest trial")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    entries: list[Judged] = []
    for setting in chosen(options.set):
        entries += judged(setting, options.folder, options.every, options.longest)
        print(setting.name, file=sys.stderr, flush=True)
    report(entries)


if __name__ == "__main__":
    main()
