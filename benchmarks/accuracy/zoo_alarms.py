"""The zoo as the set of false alarms: networks as their authors start them, of which nothing should be said.

Each is checked at a small size on sixteen random samples, of which the zoo's cases take what they are made for: eight
for the classifiers of timm and torchvision, two for detectors. A network that is warned of all the same is trained, as
it is and with the fix of the finding.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gainstage as gs
from accuracy.scoring import Rate
from accuracy.store import Row
from accuracy.zoo_training import is_true, trained, verdict

SAMPLES = 16


def surveyed(path: Path) -> list[Row]:
    """A row a network, as checked now; also written to a file. Takes about ten minutes, and the zoo's packages."""
    from zoo.cases import CASES  # tests/zoo, which is on the path where this is asked for

    logging.disable(logging.WARNING)
    rows: list[Row] = []
    for done, (name, case) in enumerate(CASES.items(), 1):
        rows.append({"network": name, **_row(case)})
        print(f"zoo {done}/{len(CASES)} {name}", file=sys.stderr)
    logging.disable(logging.NOTSET)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def kept(path: Path) -> list[Row]:
    """The rows of an earlier survey, if there was one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def section(rows: Sequence[Row]) -> str:
    """The page's part on the zoo."""
    alarmed = [row for row in rows if row["alarms"]]
    errors = [row for row in alarmed if any(grave == "error" for _, grave, _ in row["alarms"])]
    wrong = [row for row in alarmed if not is_true(row)]
    lines = [
        "## The zoo",
        "",
        f"{len(rows)} networks of timm, torchvision, transformers and torch, as their authors start them, each",
        f"checked on random samples of a small size: {SAMPLES}, but {SAMPLES // 2} pictures for the classifiers of",
        "timm and torchvision, and 2 for detectors.",
        "",
        f"- With an error: {Rate(len(errors), len(rows))}.",
        f"- With a warning or an error: {Rate(len(alarmed), len(rows))}.",
        f"- With an alarm that a training run does not bear out: {Rate(len(wrong), len(rows))}.",
        "",
        *(f"- `{row['network']}`: {_spelled(row)}. {verdict(row)}" for row in alarmed),
        "",
    ]
    return "\n".join(lines)


def _row(case: Any) -> Row:
    from zoo.case import SMALL

    size = replace(SMALL, batch=SAMPLES)
    report = gs.check(case.parts(size).subject())
    alarms = [(f.code, f.severity, f.consequence_of) for f in report.findings if f.severity != "info"]
    return {"alarms": alarms, **(trained(case.parts(size), report.findings) if alarms else {})}


def _spelled(row: Row) -> str:
    return ", ".join(code if root is None else f"({code})" for code, _, root in row["alarms"])
