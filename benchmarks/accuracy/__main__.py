"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from accuracy import cases, checks, labels, zoo_alarms
from accuracy.cases import QUICK, Case, Extent, Split
from accuracy.checks import Checked
from accuracy.page import figures_json, page
from accuracy.scoring import MODES, outcomes
from accuracy.store import Store

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    extent = QUICK if options.quick else Extent()
    found: dict[Case, labels.Label] = {}
    said: dict[Split, list[Checked]] = {}
    for split in cases.splits_of(options.split):
        chosen = cases.cases(split, extent)
        found |= labels.labelled(chosen, Store(options.store / "labels.jsonl"), extent, options.jobs)
        if not options.labels_only:
            said[split] = checks.checked(chosen, Store(options.store / "trials.jsonl"), extent, options.jobs)
    zoo = options.store / "zoo.jsonl"
    networks = zoo_alarms.surveyed(zoo) if options.zoo else zoo_alarms.kept(zoo)
    if said:
        text = page(found, said, extent, networks)
        (options.store / "accuracy.md").write_text(text, encoding="utf-8")
        if options.publish:
            _publish(text, found, said, extent)


def _publish(text: str, found: dict[Case, labels.Label], said: dict[Split, list[Checked]], extent: Extent) -> None:
    (ROOT / "docs/accuracy.md").write_text(text, encoding="utf-8")
    if "test" in said:
        judged = outcomes(found, said["test"], MODES["with a trial"])
        figures = figures_json(judged, extent)
        (ROOT / "src/gainstage/rules/accuracy.json").write_text(figures, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="accuracy", description="Precision and recall of the rules.")
    parser.add_argument("store", type=Path, help="a folder; what it holds is not measured again; the page goes there")
    parser.add_argument("--split", choices=("development", "test", "all"), default="all")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--zoo", action="store_true", help="ask the rules of every network of the zoo, too")
    parser.add_argument("--labels-only", action="store_true", help="train, and do not ask the rules")
    parser.add_argument("--publish", action="store_true", help="write docs/accuracy.md and the figures of the package")
    parser.add_argument("--quick", action="store_true", help="a few short trainings, to see that it runs")
    return parser


if __name__ == "__main__":
    main()
