"""What `gs.check` without a trial costs on the networks of tests/zoo, in bare forward and backward passes.

    python benchmarks/check_cost.py [--only TEXT ...] [--optimizer]

Bare passes and checks in turn, one thread, so that a machine whose speed drifts slows both alike; each network at a
size at which a bare pass takes a tenth of a second. The bar is three bare passes and one second: `over` is what is
left of the check beyond that second, in passes. With ``--optimizer`` the check also measures a first step of SGD.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

import gainstage as gs

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo.case import Parts
from zoo.cases import CASES
from zoo.survey import bare_step, percentile, sized

PASSES, SECOND, LONG = 3.0, 1.0, 4.0


def seconds(parts: Parts, *, optimizer: bool) -> tuple[float, float]:
    """Median seconds of a bare pass, and of a check, after one of each for warming up."""
    subject = parts.subject()
    bare_step(parts)
    if optimizer:
        subject = subject.replace(optimizer=torch.optim.SGD(parts.model.parameters(), lr=0.01))
    gs.check(subject)
    bare: list[float] = []
    checked: list[float] = []
    begin = time.perf_counter()
    while len(bare) < 3 and (not bare or time.perf_counter() - begin < LONG):
        start = time.perf_counter()
        bare_step(parts)
        middle = time.perf_counter()
        gs.check(subject)
        bare.append(middle - start)
        checked.append(time.perf_counter() - middle)
    return statistics.median(bare), statistics.median(checked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="networks whose name contains one of these")
    parser.add_argument("--optimizer", action="store_true", help="give the check an optimizer")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows: list[tuple[float, float]] = []
    print(f"{'network':<46}{'bare':>10}{'check':>10}{'ratio':>8}{'over':>8}")
    for case in CASES.values():
        if options.only and not any(text in case.name for text in options.only):
            continue
        gc.collect()
        try:
            parts = sized(case)
            if any(isinstance(parameter, nn.UninitializedParameter) for parameter in parts.model.parameters()):
                bare_step(parts)
            bare, checked = seconds(parts, optimizer=options.optimizer)
        except Exception as error:
            print(f"{case.name:<46}FAILED {type(error).__name__}: {error}", flush=True)
            continue
        ratio, over = checked / bare, max(0.0, checked - SECOND) / bare
        rows.append((ratio, over))
        print(f"{case.name:<46}{bare * 1e3:>7.0f} ms{checked * 1e3:>7.0f} ms{ratio:>8.2f}{over:>8.2f}", flush=True)
    if rows:
        ratios, overs = zip(*rows, strict=True)
        print(
            f"\n{len(rows)} networks; check against a bare pass: median {statistics.median(ratios):.2f}, "
            f"95th percentile {percentile(list(ratios), 0.95):.2f}, highest {max(ratios):.2f}; "
            f"beyond one second: highest {max(overs):.2f} passes, "
            f"{sum(over > PASSES for over in overs)} above {PASSES:.0f}"
        )


if __name__ == "__main__":
    main()
