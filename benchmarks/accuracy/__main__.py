"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch

from accuracy import cases, checks, labels
from accuracy.cases import QUICK, Case, Extent
from accuracy.store import Store

ROOT = Path(__file__).parents[2]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    extent = QUICK if options.quick else Extent()
    chosen = [case for split in cases.splits_of(options.split) for case in cases.cases(split, extent)]
    if options.only:
        chosen = [case for case in chosen if options.only in case.key]
    found = labels.labelled(chosen, Store(options.store / "labels.jsonl"), extent, options.jobs)
    if options.labels_only:
        return
    said = checks.checked(chosen, Store(options.store / "trials.jsonl"), extent, options.jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="accuracy", description="Precision and recall of the rules.")
    parser.add_argument("store", type=Path, help="a folder; what it holds is not measured again")
    parser.add_argument("--split", choices=("development", "test", "all"), default="all")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--labels-only", action="store_true", help="train, and do not ask the rules")
    parser.add_argument("--publish", action="store_true", help="write docs/accuracy.md and the figures of the package")
    parser.add_argument("--quick", action="store_true", help="a few short trainings, to see that it runs")
    parser.add_argument("--only", default="", help="cases whose key contains this")
    return parser.parse_args()


if __name__ == "__main__":
    main()
