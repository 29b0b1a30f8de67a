"""Writes the verdicts of a store into the package, and the page of them: what `gainstage explain` and readers see.

gainstage lab run --all --store lab/first && python benchmarks/publish_verdicts.py lab/first
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gainstage import lab
from gainstage.lab.published_verdicts import FILE_NAME, spelled
from gainstage.report.lab_table import verdict_page

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    store = parser.parse_args().store
    by_claim = {verdict.claim_id: verdict for verdict in lab.verdicts(store) if verdict.preset == "quick"}
    heard = {hearing.id: hearing for hearing in lab.hearings(store) if hearing.preset == "quick"}
    missing = [claim.id for claim in lab.claims() if claim.id not in by_claim]
    missing += [entry.id for entry in lab.confrontations() if entry.id not in heard]
    if missing:
        sys.exit(f"publish: the store must have every claim and confrontation, got none of {', '.join(missing)}.")
    verdicts = [by_claim[claim.id] for claim in lab.claims()]
    hearings = [heard[entry.id] for entry in lab.confrontations()]
    (ROOT / "src/gainstage/lab" / FILE_NAME).write_text(spelled(verdicts), encoding="utf-8")
    (ROOT / "docs/verdicts.md").write_text(verdict_page(verdicts, hearings), encoding="utf-8")


if __name__ == "__main__":
    main()
