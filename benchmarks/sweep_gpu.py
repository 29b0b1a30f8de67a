"""How well the sweep engine fills a GPU: thousands of small networks at once against one at a time on the same device.

    python benchmarks/sweep_gpu.py [--runs 4096] [--width 64] [--steps 40]

Times a step of the vectorised chunk and of one network's plain loop, with the GPU's own clock, in turn; then the copy
bandwidth of the device, and the share of it that a step's least traffic takes: every trained number is read by the
forward and the backward pass, its gradient written and read, and number and momentum read and written (seven times
its size and the rate's); every activation is written once and read twice by its layer and its backward pass
(four times for each of linear, norm and ReLU). A share of one is a step that only moves what it must.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from gainstage import sweep
from gainstage.sweep.data import loaded
from gainstage.sweep.engine.calibration import kind_of
from gainstage.sweep.engine.initial import built
from gainstage.sweep.engine.looped import Trial
from gainstage.sweep.engine.proof import Refusal
from gainstage.sweep.engine.vectorised import Chunk, program
from sweep import case, mlp  # the neighbouring script's grid


def seconds(call, times: int) -> float:
    """For one call, by the device's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for place in range(times):
        call(place)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / times


def copy_bandwidth() -> float:
    """Bytes moved a second (read and written) by a copy that no cache holds."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / min(seconds(lambda _place: target.copy_(source), 5) for _ in range(5))


def least_traffic(chunk_values: int, runs: int, depth: int, width: int, batch: int) -> int:
    """Bytes that a step must move."""
    activations = runs * batch * width * depth * 3
    return 4 * (8 * chunk_values + 4 * activations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=4096)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing measured")
        return
    plain = case(mlp, options.width, options.steps, 1, (1, 1)).spec
    axes = {"lr": [10 ** (-3 + place / 128) for place in range(-(-options.runs // 8))], "seed": range(8)}
    spec = sweep.Spec(
        name=plain.name, model=mlp, data=plain.data, axes=axes, steps=options.steps, fixed=plain.fixed,
        metrics=plain.metrics, device="cuda",
    )  # fmt: skip
    cells = spec.cells()[: options.runs]
    data, kind = loaded(spec), kind_of(spec, cells)
    if isinstance(kind, Refusal):
        raise SystemExit(f"not vectorised here: {kind.why}")
    made = program(spec, kind, [built(spec, cell, data) for cell in cells], cells, data)
    chunk, trial = Chunk(spec, cells, made, data), Trial(spec, cells[0], built(spec, cells[0], data))
    chunk.step(0), trial.step(0)
    together, alone = [], []
    for _ in range(options.repeats):
        together.append(seconds(chunk.step, options.steps))
        alone.append(seconds(trial.step, options.steps))
    each = [one * len(cells) / all_ for one, all_ in zip(alone, together, strict=True)]
    step, bandwidth = statistics.median(together), copy_bandwidth()
    moved = least_traffic(made.stack.values.numel(), len(cells), 8, options.width, int(spec.fixed["batch_size"]))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {len(cells)} networks of width {options.width}")
    print(f"  {kind.way}: {step * 1e3:.2f} ms a step of all, {step / len(cells) * 1e6:.2f} us a network")
    print(f"  over one at a time  {statistics.median(each):.0f} ({min(each):.0f} to {max(each):.0f})")
    print(f"  roofline share      {moved / step / bandwidth:.2f} of {bandwidth / 1e9:.0f} GB/s copied")


if __name__ == "__main__":
    main()
