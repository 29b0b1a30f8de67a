"""What an orthogonal weight costs: the scheme against `torch.nn.init.orthogonal_`, in one run, as ratios.

    python benchmarks/orthogonal.py [--repeats N] [--threads N ...]

Both are timed in turn, pair by pair, and both end with the weight in a parameter. Below 1 the scheme is faster.
Beside them stands how far W Wᵀ (or Wᵀ W) is from the identity, at the worst entry of each.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from record import paired_times

from gainstage.schemes import Site, scheme

SHAPES = ((4096, 4096), (4096, 1024), (1024, 4096), (512, 512), (512, 512, 3, 3))


def error(weight: torch.Tensor) -> float:
    matrix = weight.flatten(1).double()
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float((matrix @ matrix.T - torch.eye(matrix.shape[0], dtype=torch.double)).abs().max())


def compare(shape: tuple[int, ...], repeats: int) -> str:
    ours, theirs = (torch.empty(shape) for _ in range(2))
    fan_in = float(torch.Size(shape[1:]).numel())
    site = Site(shape, fan_in, float(shape[0]), convolution=len(shape) > 2)
    one, other = (torch.Generator().manual_seed(seed) for seed in (0, 1))

    def drawn() -> None:
        ours.copy_(scheme("orthogonal").draw(site, one))

    def decomposed() -> None:
        torch.nn.init.orthogonal_(theirs, generator=other)

    pairs = paired_times(drawn, decomposed, repeats)
    medians = [statistics.median(times) * 1e3 for times in zip(*pairs, strict=True)]
    ratios = sorted(a / b for a, b in pairs)
    figures = f"{medians[0]:>9.1f} ms{medians[1]:>9.1f} ms{statistics.median(ratios):>8.2f}"
    spread = f"{ratios[0]:>8.2f} to {ratios[-1]:.2f}"
    return f"{figures}{spread}   {error(ours):.1e} {error(theirs):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(f"torch {torch.__version__}, median of {options.repeats} pairs")
    print(f"{'threads':<9}{'shape':<18}{'scheme':>12}{'torch':>12}{'ratio':>8}{'range':>16}   error of both")
    for threads in options.threads:
        torch.set_num_threads(threads)
        for shape in SHAPES:
            name = "x".join(map(str, shape))
            print(f"{threads:<9}{name:<18}{compare(shape, options.repeats)}", flush=True)


if __name__ == "__main__":
    main()
