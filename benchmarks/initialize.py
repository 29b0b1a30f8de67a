"""Data-driven initialization: its cost against plain forward passes, how near the levels come, and a peer.

    python benchmarks/initialize.py [--only TEXT ...] [--peer TEXT ...]

Over the networks of tests/zoo: the cost of `gs.initialize(model, batch)` in plain forward passes on the same batch,
timed in turn, and the share of layers whose output, measured by a recording afterwards, is within a tenth of what
was asked for. Those named by ``--peer`` are also given to the package `lsuv` (pip install lsuv), in the same run,
and its levels are measured in the same way against its own aim, a standard deviation of one.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import gainstage as gs
from gainstage.errors import GainstageError
from gainstage.schemes.initialize import initialize_subject
from gainstage.trace import call

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo import vision_models
from zoo.case import Parts
from zoo.cases import CASES
from zoo.survey import percentile, sized


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def plain_forward(parts: Parts, *, needs_gradients: bool = False) -> None:
    # One network differentiates something on its way.
    with torch.set_grad_enabled(needs_gradients):
        _run(parts)


def _run(parts: Parts) -> None:
    if parts.forward is not None:
        parts.forward(parts.model, parts.batch)
        return
    unpacked = call.unpack(parts.batch)
    parts.model(*unpacked.args, **unpacked.kwargs)


def initialized(parts: Parts) -> gs.schemes.InitReport:
    return initialize_subject(parts.subject(), driven=True)


def near(parts: Parts, aims: dict[str, float], *, spread: bool = False) -> tuple[int, int]:
    """How many layers have the level that was aimed at within a tenth, and how many have one at all."""
    found = {layer.name: layer.std if spread else layer.rms for layer in gs.record(parts.subject()).layers}
    met = [found.get(name) for name in aims]
    good = [level is not None and abs(level / aim - 1) <= 0.1 for level, aim in zip(met, aims.values(), strict=True)]
    return sum(good), len(good)


def peer(parts: Parts) -> tuple[float, int, int]:
    """Seconds of lsuv, and its layers within a tenth of a standard deviation of one."""
    lsuv = importlib.import_module("lsuv")
    took = seconds(lambda: lsuv.lsuv_with_singlebatch(parts.model, call.unpack(parts.batch).args[0], verbose=False))
    maps = [name for name, module in parts.model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    parts.model.eval()  # as it runs them itself
    return took, *near(parts, dict.fromkeys(maps, 1.0), spread=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="networks whose name contains one of these")
    parser.add_argument("--peer", nargs="*", default=[], help="networks that lsuv is given too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    good = total = 0
    ratios: list[float] = []
    print(f"{'network':<44}{'forward':>10}{'initialize':>12}{'ratio':>7}{'within a tenth':>17}")
    for case in (*CASES.values(), *vision_models.large_cases()):
        if options.only and not any(text in case.name for text in options.only):
            continue
        parts, inside = sized(case), "gradient-inside" in case.name
        try:
            report = initialized(parts)
        except GainstageError as error:
            print(f"{case.name:<44} {error}")
            continue
        hits, rows = near(parts, {row.layer: row.target for row in report.rows})
        pairs = [
            (
                seconds(lambda p=parts, g=inside: plain_forward(p, needs_gradients=g)),
                seconds(lambda p=parts: initialized(p)),
            )
            for _ in range(3)
        ]
        forward, initialize = (statistics.median(times) for times in zip(*pairs, strict=True))
        good, total = good + hits, total + rows
        ratios.append(initialize / forward)
        row = f"{case.name:<44}{forward * 1e3:>7.0f} ms{initialize * 1e3:>9.0f} ms{ratios[-1]:>7.2f}"
        print(f"{row}{hits:>9} of {rows}", flush=True)
        if any(text in case.name for text in options.peer):
            took, peers, theirs = peer(sized(case))
            longer = f"{took * 1e3:.0f} ms, {took / initialize:.1f} times as long"
            print(f"        lsuv: {longer}; {peers} of {theirs} within a tenth", flush=True)
    if total:
        print(f"\nlayers within a tenth of their level: {good} of {total} ({100 * good / total:.2f} %)")
        print(f"cost in plain forward passes: median {statistics.median(ratios):.2f}, "
              f"95th percentile {percentile(ratios, 0.95):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
