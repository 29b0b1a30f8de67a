"""The command line of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from programs.asked import answers, questions
from programs.collection import PAIRS
from programs.page import page

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="programs", description="What is said of programs with bugs and without.")
    parser.add_argument("store", type=Path, help="a folder; what it holds is not asked again; the page goes there")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--publish", action="store_true", help="write docs/programs.md, and clear the store")
    options = parser.parse_args(arguments)
    store = options.store / "answers.jsonl"
    text = page(PAIRS, answers(questions(PAIRS), store, options.jobs))
    (options.store / "programs.md").write_text(text, encoding="utf-8")
    if options.publish:
        (ROOT / "docs/programs.md").write_text(text, encoding="utf-8")
        store.unlink()


if __name__ == "__main__":
    main()
