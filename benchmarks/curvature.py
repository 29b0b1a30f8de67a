"""How many products the largest eigenvalue to one percent takes, over the networks of tests/zoo, and how long.

    python benchmarks/curvature.py [--only TEXT ...] [--largest PARAMETERS] [--peers]

Products: those after which `curvature` stopped with its bound within one percent; beside it power iteration from a
random vector with PyHessian's rule for stopping, and by how much it is then off. Time is in forward and backward
passes of the same model on the same batch, in the same run. With ``--peers``, curvlinops' Hessian with SciPy's eigsh to
the same tolerance is run as well; it needs both packages.
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gainstage.errors import GainstageError
from gainstage.landscape.eigenvalues import Curvature, curvature_of
from gainstage.landscape.objective import Objective

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo.case import Size
from zoo.cases import CASES

SIZE = Size(batch=4, pixels=64, width=64, length=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="networks whose name contains one of these")
    parser.add_argument("--largest", type=int, default=500_000, help="leave out networks with more parameters")
    parser.add_argument("--products", default="exact", choices=["exact", "difference"])
    parser.add_argument("--peers", action="store_true", help="run curvlinops with SciPy as well")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    titles = {"size": 9, "sharpness": 11, "bound": 8, "products": 9, "passes": 8, "power": 7, "wrong": 9, "eigsh": 7}
    print("network".ljust(46) + "".join(title.rjust(width) for title, width in titles.items()))
    rows: list[Row] = []
    for case in CASES.values():
        if options.only and not any(text in case.name for text in options.only):
            continue
        gc.collect()
        try:
            objective = Objective(case.parts(SIZE).subject())
            if objective.size > options.largest:
                continue
            rows.append(measured(objective, options.products, peers=options.peers))
            print(f"{case.name:<46}{rows[-1]}", flush=True)
        except (GainstageError, RuntimeError) as error:
            print(f"{case.name:<46} {' '.join(str(error).split())[:150]}", flush=True)
    summarize(rows)


def summarize(rows: list[Row]) -> None:
    done = sum(row.found.converged for row in rows)
    print(f"\n{len(rows)} networks; {done} to one percent by the bound shown (* not)")
    counts = sorted(row.found.products for row in rows)
    most = f"nine in ten at most {counts[9 * len(counts) // 10]}, most {counts[-1]}"
    print(f"products: median {statistics.median(counts)}, {most}")
    print(f"time: median {statistics.median(row.passes for row in rows):.1f} forward and backward passes")
    powers = [row for row in rows if row.power]
    if powers:
        wrong = sum(row.error > 0.01 for row in powers)
        median = statistics.median(row.power for row in powers)
        print(f"power iteration: median {median} products; {wrong} of {len(powers)} off by more than 1 %")
    peers = [row for row in rows if row.peer]
    if peers:
        ours = statistics.median(row.found.products for row in peers)
        theirs = statistics.median(row.peer or 0 for row in peers)
        print(f"curvlinops and eigsh on {len(peers)}: median {theirs} products; ours there {ours}")


@dataclass(frozen=True)
class Row:
    found: Curvature
    passes: float
    power: int
    error: float
    peer: int | None

    def __str__(self) -> str:
        found = self.found
        star = " " if found.converged else "*"
        left = f"{found.parameters:>9}{found.sharpness:>11.4g}{found.bounds[0]:>8.1g}{found.products:>8}{star}"
        right = f"{self.power or '-':>7}{100 * self.error:>7.1f} %{self.peer or '-':>7}  {found.note}"
        return f"{left}{self.passes:>8.1f}{right}"


def measured(objective: Objective, products: Any, *, peers: bool) -> Row:
    batch = objective.batches[0]
    objective.gradient(batch)
    plain = statistics.median(timed(lambda: objective.gradient(batch)) for _ in range(5))
    started = time.perf_counter()
    found = curvature_of(objective, products=products)
    passes = (time.perf_counter() - started) / plain
    power, error = (0, 0.0) if products == "difference" else power_iteration(objective, found.sharpness)
    return Row(found, passes, power, error, eigsh_products(objective) if peers else None)


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def power_iteration(objective: Objective, sharpness: float) -> tuple[int, float]:
    """Products until the quotient changes by less than a thousandth, PyHessian's rule, and how wrong it then is."""
    times, before = objective.product(objective.batches[0]), math.nan
    vector = torch.randn(objective.size, generator=torch.Generator().manual_seed(1)).to(objective.point())
    quotient, used, settled = math.nan, 0, False
    while used < 100 and not settled:
        vector = vector / vector.norm()
        image, used = times(vector), used + 1
        quotient = float(vector @ image)
        settled = abs(quotient - before) < 1e-3 * abs(quotient)
        vector, before = image, quotient
    return used, abs(quotient / sharpness - 1)


def eigsh_products(objective: Objective) -> int | None:
    """How many products SciPy's eigsh takes with curvlinops' Hessian; None if one of them cannot be used."""
    try:
        from curvlinops import HessianLinearOperator
        from scipy.sparse.linalg import LinearOperator, eigsh

        loss = torch.nn.CrossEntropyLoss()
        hessian = HessianLinearOperator(
            objective.model, loss, list(objective.parameters), objective.batches, check_deterministic=False
        )
        inner, calls = hessian.to_scipy(), 0

        def counted(vector: Any) -> Any:
            nonlocal calls
            calls += 1
            return inner @ vector

        eigsh(LinearOperator(inner.shape, matvec=counted, dtype=inner.dtype), k=1, which="LA", tol=0.01)
        return calls
    except Exception as error:
        print("   peer:", " ".join(str(error).split())[:100])
        return None


if __name__ == "__main__":
    main()
