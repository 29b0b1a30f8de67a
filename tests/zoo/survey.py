"""`make zoo`: every network of the zoo recorded, with what it cost against a bare forward and backward pass.

    python -m zoo.survey [--only TEXT ...] [--repeats N] [--json FILE]

A network is given batches of 8, 16 and 32 samples until its bare step takes a tenth of a second, as training would.
Time: bare steps and recordings in turn, one thread, median of each; the ratio is of the medians. Memory: the peak
of what torch allocates beyond what stood before, from its own profiler. Ends with 1 if anything was not recorded,
was changed, or a parameter of two dimensions and more was not seen.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import gainstage as gs
from gainstage.trace import call
from zoo.case import FULL, Case, Parts
from zoo.cases import CASES, MISSING
from zoo.fingerprint import differences, fingerprint

# With more packages missing a run proves too little.
MOST_MISSING = 1
# Seconds after which a network is not timed again.
LONG = 6.0
# A bare step that is shorter, in seconds, gets a larger batch, up to so many samples.
SHORTEST, MOST_SAMPLES = 0.1, 32


@dataclass
class Row:
    """What was seen of one network; times in seconds, memory in bytes."""

    name: str
    failed: str = ""
    layers: int = 0
    changed: list[str] = field(default_factory=list)
    matrices: int = 0
    unseen: list[str] = field(default_factory=list)
    bare: float = 0.0
    recorded: float = 0.0
    bare_peak: int = 0
    peak: int = 0

    @property
    def time_ratio(self) -> float:
        return self.recorded / self.bare

    @property
    def memory_ratio(self) -> float:
        return self.peak / self.bare_peak


def unseen(trace: gs.Trace) -> tuple[int, list[str]]:
    """How many parameters of two dimensions and more took part, and which of them no layer names."""
    named = {name for layer in trace.layers for name in layer.parameters}
    matrices = [p.name for p in trace.parameters if len(p.shape) >= 2 and p.used]
    return len(matrices), [name for name in matrices if name not in named]


def bare_step(parts: Parts) -> None:
    """What a training loop does but for the optimizer's step."""
    subject, model = parts.subject(), parts.model
    for parameter in model.parameters():
        parameter.grad = None
    if subject.forward is not None:
        loss = subject.forward(model, parts.batch)
    else:
        unpacked = call.unpack(parts.batch)
        outputs = model(*unpacked.args, **unpacked.kwargs)
        loss = call.choose_loss(subject, outputs, unpacked.targets)[2]()
    loss.backward()


def peak_bytes(function: Callable[[], Any]) -> int:
    """The most that torch has allocated at once while the function ran, beyond what stood before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        result = function()
        del result
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def sized(case: Case) -> Parts:
    """The case at the size at which it is timed."""
    size = FULL
    while True:
        parts = case.parts(size)
        if size.batch >= MOST_SAMPLES:
            return parts
        bare_step(parts)
        start = time.perf_counter()
        bare_step(parts)
        if time.perf_counter() - start > SHORTEST:
            return case.parts(size)
        size = replace(size, batch=2 * size.batch)


def surveyed(case: Case, repeats: int) -> Row:
    row = Row(case.name)
    try:
        parts = sized(case)
        subject = parts.subject()
        before = fingerprint(parts.model, parts.batch)
        trace = gs.record(subject)
    except Exception as error:
        row.failed = f"{type(error).__name__}: {error}"
        return row
    row.changed = differences(before, fingerprint(parts.model, parts.batch))
    row.layers = len(trace.layers)
    row.matrices, row.unseen = unseen(trace)
    del before, trace
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in parts.model.parameters()):
        bare_step(parts)
    times: tuple[list[float], list[float]] = ([], [])
    bare_step(parts)
    begin = time.perf_counter()
    while len(times[0]) < repeats and (not times[0] or time.perf_counter() - begin < LONG):
        start = time.perf_counter()
        bare_step(parts)
        middle = time.perf_counter()
        gs.record(subject)
        times[0].append(middle - start)
        times[1].append(time.perf_counter() - middle)
    row.bare, row.recorded = (statistics.median(seconds) for seconds in times)
    for parameter in parts.model.parameters():
        parameter.grad = None
    gc.collect()
    row.peak = peak_bytes(lambda: gs.record(subject))
    row.bare_peak = peak_bytes(lambda: bare_step(parts))
    return row


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def summary(rows: list[Row]) -> str:
    """The figures that count, one line each."""
    good = [row for row in rows if not row.failed]
    seen, all_matrices = sum(r.matrices - len(r.unseen) for r in good), sum(r.matrices for r in good)
    lines = [
        f"recorded {len(good)}, failed {len(rows) - len(good)}, packages missing {len(MISSING)}",
        f"changed anything: {sum(bool(row.changed) for row in good)}",
        f"parameters of two dimensions and more that were seen: {seen} of {all_matrices}",
    ]
    for what, ratios in (("time", [r.time_ratio for r in good]), ("peak memory", [r.memory_ratio for r in good])):
        if ratios:
            middle, high = statistics.median(ratios), percentile(ratios, 0.95)
            lines.append(f"{what} against a bare step: median {middle:.2f}, 95th percentile {high:.2f}, "
                         f"highest {max(ratios):.2f}")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="networks whose name contains one of these")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name, reason in MISSING.items():
        print(f"missing: {name} ({reason})")
    rows: list[Row] = []
    print(f"{'network':<44}{'layers':>7}{'bare':>10}{'time':>7}{'memory':>8}")
    for case in CASES.values():
        if options.only and not any(text in case.name for text in options.only):
            continue
        row = surveyed(case, options.repeats)
        rows.append(row)
        if row.failed:
            print(f"{row.name:<44} FAILED {row.failed}", flush=True)
            continue
        notes = " ".join([*(f"CHANGED {c}" for c in row.changed[:2]), *(f"UNSEEN {u}" for u in row.unseen[:2])])
        print(f"{row.name:<44}{row.layers:>7}{row.bare * 1e3:>7.0f} ms{row.time_ratio:>7.2f}{row.memory_ratio:>8.2f}"
              f" {notes}", flush=True)  # fmt: skip
        gc.collect()
    print("\n" + summary(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    bad = [row for row in rows if row.failed or row.changed or row.unseen]
    return 1 if bad or not rows or len(MISSING) > MOST_MISSING else 0


if __name__ == "__main__":
    sys.exit(main())
