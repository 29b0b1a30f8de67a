"""How often theory is right: predicted against measured levels of the networks of tests/zoo, as they are built.

    python benchmarks/predict.py [--only TEXT ...] [--initialize] [--held-out]

With ``--initialize`` each network is first initialized without data, and only its linear and convolutional layers
count. With ``--held-out`` the networks are those of tests/zoo/held_out.py, which the predictions were not developed on.
A layer counts if it has a band; where theory has nothing to say the prediction starts again from the measured value,
and the layer is counted apart.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch
from torch.nn.parameter import is_lazy

import gainstage as gs
from gainstage.errors import GainstageError
from gainstage.schemes.initialize import initialize_subject

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo import held_out
from zoo.case import Size
from zoo.cases import CASES

SIZE = Size(batch=4, pixels=64, width=64, length=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="networks whose name contains one of these")
    parser.add_argument("--initialize", action="store_true", help="initialize without data before")
    parser.add_argument("--held-out", action="store_true", help="other networks than the zoo's")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    total: Counter[str] = Counter()
    print(f"{'network':<44}{'levels':>14}{'restarts':>10}{'gradients':>14}{'restarts':>10}")
    for case in held_out.cases() if options.held_out else CASES.values():
        if options.only and not any(text in case.name for text in options.only):
            continue
        subject = case.parts(SIZE).subject()
        if options.initialize and not any(map(is_lazy, subject.model.parameters())):
            initialize_subject(subject)
        try:
            trace = gs.record(subject)
        except GainstageError as error:  # a network of the held-out rule that takes no image of this size
            print(f"{case.name:<44} {str(error)[:80]}", flush=True)
            continue
        found = gs.schemes.predict(trace)
        if options.initialize:
            kinds = [layer.kind in ("linear", "conv") for layer in trace.layers]
            found = tuple(itertools.compress(found, kinds))
        here = Counter({"layers": len(found)})
        for entry in found:
            here[f"level {entry.inside}"] += 1
            here[f"gradient {entry.grad_inside}"] += 1
        total += here
        print(f"{case.name:<44}{_counts(here)}", flush=True)
    print(f"\n{'all':<44}{_counts(total)}")
    for what in ("level", "gradient"):
        known = total[f"{what} True"] + total[f"{what} False"]
        if known:
            print(f"{what}s inside their band: {100 * total[f'{what} True'] / known:.1f} % of {known}")


def _counts(counts: Counter[str]) -> str:
    cells = []
    for what in ("level", "gradient"):
        good, bad = counts[f"{what} True"], counts[f"{what} False"]
        cells.append(f"{f'{good} of {good + bad}':>14}{counts[f'{what} None']:>10}")
    return "".join(cells)


if __name__ == "__main__":
    main()
