"""What `gs.norm.recalibrate` costs beside plain forward passes, and beside fvcore's `update_bn_stats`.

    python benchmarks/recalibrate.py [--batches N] [--repeats N] [--pixels N]

Plain forward passes on the same batches, in training mode without gradients, are timed in turn with `recalibrate` in
place; the ratio is the median of the ratios of neighbours. Then on data whose batches differ in level and size: how
far each is from the statistics of all values, in standard deviations and in ln variance, of a network of one norm,
for which they are known. fvcore (pip install fvcore --no-deps, iopath, yacs, tqdm) is left out where it is missing.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gainstage import norm

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo.packages import package


def fvcore_update() -> Callable[..., Any] | None:
    try:
        return importlib.import_module("fvcore.nn.precise_bn").update_bn_stats
    except ImportError as error:
        print(f"fvcore is left out: {error}")
        return None


def networks() -> dict[str, Callable[[], nn.Module]]:
    vision = package("torchvision")
    if vision is None:
        print("torchvision is missing: a plain stack of twenty convolutions stands in")
        return {"stack of 20": stack}
    return {name: getattr(vision.models, name) for name in ("resnet18", "resnet50", "mobilenet_v2")}


def stack() -> nn.Module:
    layers = [(nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()) for _ in range(20)]
    return nn.Sequential(nn.Conv2d(3, 64, 7, stride=4), *(layer for block in layers for layer in block))


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def plain(model: nn.Module, batches: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for batch in batches:
            model(batch)


def costs(model: nn.Module, batches: list[torch.Tensor], repeats: int, peer: Callable[..., Any] | None) -> None:
    model.train()
    ours: list[float] = []
    theirs: list[float] = []
    forwards: list[float] = []
    plain(model, batches)
    for repeat in range(repeats):
        # The order changes: whoever comes first finds another cache.
        runs = {
            "plain": lambda: plain(model, batches),
            "ours": lambda: norm.recalibrate(model, batches, inplace=True),
            "theirs": lambda: peer(model, batches, num_iters=len(batches)) if peer else None,
        }
        order = list(runs) if repeat % 2 == 0 else list(runs)[::-1]
        took = {name: seconds(runs[name]) for name in order}
        forwards.append(took["plain"])
        ours.append(took["ours"] / took["plain"])
        theirs.append(took["theirs"] / took["plain"])
    found = f"forward {1e3 * statistics.median(forwards) / len(batches):.0f} ms a batch, recalibrate {middle(ours)}"
    print(found + (f", fvcore {middle(theirs)}" if peer else "") + " of plain forward passes", flush=True)


def middle(ratios: list[float]) -> str:
    """The median and, for the noise, the quartiles."""
    low, median, high = statistics.quantiles(ratios, n=4)
    return f"{median:.3f} ({low:.2f} to {high:.2f})"


def accuracy(peer: Callable[..., Any] | None, level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randn(size, 64, generator=generator) * (1 + 0.3 * step) + 2 * step + level
        for step, size in enumerate((64, 64, 64, 64, 8))
    ]
    values = torch.cat(batches).double()
    mean, var = values.mean(0), values.var(0, correction=0)
    runs: dict[str, Callable[[nn.Module], Any]] = {"recalibrate": lambda m: norm.recalibrate(m, batches, inplace=True)}
    if peer is not None:
        runs["fvcore"] = lambda m: peer(m.train(), batches, num_iters=len(batches))
    for name, run in runs.items():
        layer = nn.BatchNorm1d(64)
        run(nn.Sequential(layer))
        shift = ((layer.running_mean - mean) / var.sqrt()).square().mean().sqrt()
        spread = (layer.running_var / var).log().abs().max()
        off = f"mean {shift:.1e} standard deviations, ln variance {spread:.1e}"
        print(f"{name:<12} level {level:<6g} off the statistics of all values: {off}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--pixels", type=int, default=156)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peer = fvcore_update()
    batches = [torch.randn(8, 3, options.pixels, options.pixels) for _ in range(options.batches)]
    for name, build in networks().items():
        print(f"{name:<14}", end="")
        costs(build(), batches, options.repeats, peer)
    for level in (0.0, 300.0, 30000.0):
        accuracy(peer, level)


if __name__ == "__main__":
    main()
