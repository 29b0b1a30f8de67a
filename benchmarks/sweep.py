"""What the sweep engine saves: a grid of small networks against plain PyTorch loops, in one run, as ratios.

    python benchmarks/sweep.py [--case NAME] [--repeats N] [--quick]

Beside `gainstage.sweep.execute` stand the loop that one writes by hand (tensors in memory, a permutation for each
epoch, torch's optimizer), the same with a DataLoader, and a pool of one process for each core over the first. The
loops run on one thread, which for such networks is the faster setting, and train every n-th cell, scaled up; the
engine trains all of the grid, and its time includes its calibration and the start of its processes, the pool's does
not. Repetitions take turns, so that a machine whose speed drifts slows all alike; the figures are medians of the
ratios of a round, with the smallest and the largest. "Core" ratios compare processor time, which other programs on
the machine disturb less; on n idle cores the wall's ratio is up to n times as large.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.pool import Pool

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gainstage import sweep

BATCH = 64


@lru_cache
def digits() -> sweep.Data:
    from sklearn.datasets import load_digits  # an optional package

    found = load_digits()
    inputs = torch.tensor(found.data, dtype=torch.float32) / 8 - 1
    targets = torch.tensor(found.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    test, train = order[:360], order[360:]
    return sweep.Data(inputs[train], targets[train], inputs[test], targets[test])


def mlp(width: int = 64, depth: int = 8) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (64, *[width] * (depth - 1)):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def conv(width: int = 16) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for before in (1, width, width):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@dataclass(frozen=True)
class Case:
    spec: sweep.Spec
    every: int  # of how many cells the loops train one
    bars: tuple[float, float]  # over the loop, over the pool


def case(model: Callable[..., nn.Module], width: int, steps: int, every: int, bars: tuple[float, float]) -> Case:
    axes = {"lr": [10 ** (-3 + place / 8) for place in range(16)], "scale": (0.5, 1.0), "seed": range(8)}
    spec = sweep.Spec(
        name=f"{model.__name__}-{width}", model=model, data=digits, axes=axes, steps=steps, measure=steps // 2,
        fixed={"width": width, "batch_size": BATCH, "momentum": 0.9}, metrics=("train_loss", "test_accuracy"),
    )  # fmt: skip
    return Case(spec, every, bars)


CASES = {
    "mlp-64": lambda quick: case(mlp, 64, 100 if quick else 800, 32, (5.0, 1.5)),
    "mlp-32": lambda quick: case(mlp, 32, 100 if quick else 800, 32, (8.0, 1.5)),
    "mlp-512": lambda quick: case(mlp, 512, 10 if quick else 20, 64, (0.95, 0.95)),
    "conv-16": lambda quick: case(conv, 16, 20 if quick else 120, 64, (0.95, 0.95)),
}


def trained(spec: sweep.Spec, cell: sweep.Cell, *, loader: bool = False) -> list[float]:
    """One network as one trains it by hand."""
    data, values = digits(), cell.values
    torch.manual_seed(values["seed"])
    model: nn.Module = (mlp if spec.name.startswith("mlp") else conv)(width=values["width"])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(values["scale"])
    optimizer = torch.optim.SGD(model.parameters(), values["lr"], momentum=values["momentum"])
    batches = _loaded(data) if loader else _indexed(data)
    curve: list[float] = []
    for step in range(spec.steps + 1):
        if step in spec.measured:
            model.eval()
            with torch.no_grad():
                curve.append(F.cross_entropy(model(data.train_inputs), data.train_targets).item())
                curve.append((model(data.test_inputs).argmax(1) == data.test_targets).float().mean().item())
            model.train()
        if step == spec.steps:
            break
        inputs, targets = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        if not loss.isfinite():
            break
        loss.backward()
        optimizer.step()
    return curve


def _indexed(data: sweep.Data):
    while True:
        order = torch.randperm(data.samples)
        for place in range(data.samples // BATCH):
            chosen = order[place * BATCH : (place + 1) * BATCH]
            yield data.train_inputs[chosen], data.train_targets[chosen]


def _loaded(data: sweep.Data):
    loader = DataLoader(
        TensorDataset(data.train_inputs, data.train_targets), batch_size=BATCH, shuffle=True, drop_last=True
    )
    while True:
        yield from loader


def job(task: tuple[sweep.Spec, sweep.Cell]) -> list[float]:
    torch.set_num_threads(1)
    return trained(*task)


@dataclass(frozen=True)
class Cost:
    """Seconds for a cell: by the clock, and of processor time in this process and its children."""

    wall: float
    core: float


def cost(call: Callable[[], object], cells: int) -> Cost:
    before, start = _processor_seconds(), time.perf_counter()
    call()
    return Cost((time.perf_counter() - start) / cells, (_processor_seconds() - before) / cells)


def _processor_seconds() -> float:
    """Of this process, and of the children that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def measured(chosen: Case, pool: Pool, repeats: int) -> dict[str, list[Cost]]:
    spec = chosen.spec
    cells = spec.cells()
    some = cells[chosen.every // 2 :: chosen.every]
    tasks = [(spec, cell) for cell in some]
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "loop": (lambda: [trained(spec, cell) for cell in some], len(some)),
        "loader": (lambda: [trained(spec, cell, loader=True) for cell in some[::2]], len(some[::2])),
        "pool": (lambda: pool.map(job, tasks, chunksize=1), len(some)),
        "engine": (lambda: sweep.execute(spec, cells, mode="processes"), len(cells)),
    }
    pool.map(job, tasks[:2])  # warm
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (call, count) in ways.items():
            found[name].append(cost(call, count))
    return found


def ratios(over: Sequence[float], under: Sequence[float]) -> str:
    each = [one / other for one, other in zip(over, under, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def report(name: str, chosen: Case, found: dict[str, list[Cost]]) -> bool:
    wall = {way: [entry.wall for entry in costs] for way, costs in found.items()}
    core = {way: [entry.core for entry in costs] for way, costs in found.items()}
    engine = statistics.median(wall["engine"])
    print(f"\n{name}: {len(chosen.spec.cells())} cells of {chosen.spec.steps} steps, {engine * 1e3:.0f} ms a cell")
    print(f"  over the loop        {ratios(wall['loop'], wall['engine'])}   bar {chosen.bars[0]}")
    print(f"  over a DataLoader's  {ratios(wall['loader'], wall['engine'])}")
    print(f"  over the pool        {ratios(wall['pool'], wall['engine'])}   bar {chosen.bars[1]}")
    print(f"  over the loop, core  {ratios(core['loop'], core['engine'])}")
    medians = [
        statistics.median(a / b for a, b in zip(wall[way], wall["engine"], strict=True)) for way in ("loop", "pool")
    ]
    return all(ratio >= bar for ratio, bar in zip(medians, chosen.bars, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; torch {torch.__version__}")
    met = True
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for name in options.case or CASES:
            chosen = CASES[name](options.quick)
            print(f"\n{sweep.plan(chosen.spec, chosen.spec.cells())}")
            met &= report(name, chosen, measured(chosen, pool, options.repeats))
    print(f"\nload {os.getloadavg()[0]:.1f} after; bars {'met' if met else 'MISSED'}")
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
