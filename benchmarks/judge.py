"""How often the lab's judges are wrong when there is nothing to find, and how often they find what is there.

Simulated figures of one seed each, many experiments: with a true effect of zero a verdict of `supported` or `refuted`
is an error. Prints a Markdown table, the one of docs/lab.md.

    python benchmarks/judge.py [--experiments 20000]
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

import numpy as np

from gainstage.lab.judge import Judgement, differs, equality, one_sided

Draw = Callable[[np.random.Generator, int], np.ndarray]

# All of mean zero and standard deviation one.
DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed (exponential)": lambda rng, n: rng.exponential(size=n) - 1,
    "heavy tails (t, 3 degrees)": lambda rng, n: rng.standard_t(3, size=n) / 3**0.5,
    "two values 2.5 sd apart, told as resolution": lambda rng, n: rng.choice([-0.5, 2.0], size=n, p=[0.8, 0.2]),
}
SEEDS = (5, 8, 10, 20)


def rates(
    judge: Callable[[list[float]], Judgement], draw: Draw, seeds: int, shift: float, count: int
) -> tuple[float, float]:
    """The shares of supported and of refuted among so many experiments."""
    rng = np.random.default_rng(0)
    outcomes = [judge((draw(rng, seeds) + shift).tolist()).outcome for _ in range(count)]
    return outcomes.count("supported") / count, outcomes.count("refuted") / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=20000)
    count = parser.parse_args().experiments
    print("| figures of a seed | seeds | no effect: supported | refuted | effect of 1 sd: supported | of 2 sd |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, draw in DRAWS.items():
        for seeds in SEEDS:
            step = 2.5 if name.startswith("two") else 0.0
            judge = functools.partial(one_sided, name="figure", seeds=seeds, side="above", resolution=step)
            wrong = rates(judge, draw, seeds, 0.0, count)
            found = [rates(judge, draw, seeds, shift, count // 4)[0] for shift in (1.0, 2.0)]
            print(f"| {name} | {seeds} | {wrong[0]:.1%} | {wrong[1]:.1%} | {found[0]:.0%} | {found[1]:.0%} |")
    print("\n| judge | truth | seeds | supported | refuted |")
    print("| --- | --- | --- | --- | --- |")
    normal = DRAWS["normal"]
    for seeds in SEEDS:
        equal = functools.partial(equality, name="figure", seeds=seeds, target=0.0, tolerance=1.0)
        unlike = functools.partial(differs, name="figure", seeds=seeds, tolerance=1.0)
        for label, judge, truth, shift in (
            ("equality, tolerance 1 sd", equal, "at the edge of the tolerance", 1.0),
            ("differs, tolerance 1 sd", unlike, "at the edge of the tolerance", 1.0),
        ):
            wrong = rates(judge, normal, seeds, shift, count)
            print(f"| {label} | {truth} | {seeds} | {wrong[0]:.1%} | {wrong[1]:.1%} |")


if __name__ == "__main__":
    main()
