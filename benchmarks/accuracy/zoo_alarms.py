"""The zoo as the set of false alarms: networks as their authors start them, of which nothing should be said.

Each is checked on two random pictures or sequences. Where batch norms are given too few values by that, it is the
batch that is wrong: the rule is asked again on sixteen. A network that is warned of all the same is trained, as it is
and with the fix of the finding, on pictures of digits.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import gainstage as gs
from accuracy.scoring import Rate
from accuracy.store import Row
from gainstage.diagnosis.trial import short_trial
from gainstage.rules import rule_of

CROWDED = "NRM003"
SAMPLES, STEPS, SEEDS, RATE, MOMENTUM = 16, 100, 2, 0.01, 0.9
# Less than this share of the first loss, over the last tenth of the steps: it trains.
TRAINS = 0.9


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
    crowded = [row for row in rows if CROWDED in _codes(row)]
    alarmed = [row for row in rows if _codes(row) - {CROWDED}]
    errors = [row for row in rows if any(grave == "error" for _, grave, _ in row["alarms"])]
    still = sum(row["crowded"] for row in crowded)
    lines = [
        "## The zoo",
        "",
        f"{len(rows)} networks of timm, torchvision, transformers and torch, as their authors start them, each",
        "checked on two random samples of a small size.",
        "",
        f"- With an error: {Rate(len(errors), len(rows))}.",
        f"- With a warning or an error, but for {CROWDED}: {Rate(len(alarmed), len(rows))}.",
        f"- {CROWDED} {rule_of(CROWDED).name}: {len(crowded)}. It speaks of the batch: two pictures of 64 pixels leave",
        f"  the last layers 2 to 8 values a channel. With {SAMPLES} pictures it speaks of {still} of them.",
        "",
        *(f"- `{row['network']}`: {_spelled(row)}. {_verdict(row)}" for row in alarmed),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(case: Any) -> Row:
    from zoo.case import SMALL

    parts = case.parts(SMALL)
    report = gs.check(parts.subject())
    alarms = [(f.code, f.severity, f.consequence_of) for f in report.findings if f.severity != "info"]
    row: Row = {"alarms": alarms, "crowded": False}
    if any(code == CROWDED for code, _, _ in alarms):
        parts = case.parts(replace(SMALL, batch=SAMPLES))
        trace = gs.record(parts.subject(), backward=False)
        row["crowded"] = any(isinstance(found, gs.Finding) for found in rule_of(CROWDED).check(trace))
    if any(code != CROWDED for code, _, _ in alarms):
        row |= _trained(case.parts(replace(SMALL, batch=SAMPLES)), report.fixes())
    return row


def _trained(parts: Any, fixes: Sequence[gs.Fix]) -> Mapping[str, float | bool]:
    """First and last losses of a run as it is, and whether the fixes improve it; nothing where it is no classifier."""
    inputs, targets = parts.batch if isinstance(parts.batch, tuple) else (None, None)
    if not isinstance(inputs, torch.Tensor) or not isinstance(targets, torch.Tensor):
        return {}
    if parts.forward is not None or inputs.ndim != 4 or targets.ndim != 1:
        return {}
    torch.manual_seed(0)
    batches = list(_pictures(inputs.shape[1], inputs.shape[2]))
    subject = gs.Subject(parts.model, batches, parts.loss or _first_output, _optimizer(parts.model))
    losses = short_trial(subject, STEPS).losses
    found: dict[str, float | bool] = {"first": losses[0], "last": median(losses[-STEPS // 10 :])}
    if fixes:
        found["improved"] = gs.verify(subject, fixes, steps=STEPS, seeds=SEEDS).improved
    return found


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)


def _first_output(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Of a model with heads for training alone, the first."""
    return F.cross_entropy(outputs if isinstance(outputs, torch.Tensor) else outputs[0], targets)


def _pictures(channels: int, pixels: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    flat, labels = load_digits(return_X_y=True)
    images, targets = torch.tensor(flat, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels)
    images = F.interpolate((images - images.mean()) / images.std(), size=(pixels, pixels), mode="nearest")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for chosen in order[: SAMPLES * 50].split(SAMPLES):
        yield images[chosen].expand(-1, channels, -1, -1).contiguous(), targets[chosen]


def _codes(row: Row) -> set[str]:
    return {code for code, _, _ in row["alarms"]}


def _spelled(row: Row) -> str:
    named = (code if root is None else f"({code})" for code, _, root in row["alarms"] if code != CROWDED)
    return ", ".join(named)


def _verdict(row: Row) -> str:
    if "last" not in row:
        return "Not trained: no plain classifier of pictures. Taken for a false alarm."
    first, last = row["first"], row["last"]
    ran = f"Its loss goes from {first:.2f} to {last:.2f} in {STEPS} steps (SGD, {RATE:g}, momentum {MOMENTUM:g})"
    if row.get("improved"):
        return f"{ran}; with the fix it ends lower, by a paired trial: a true alarm."
    return f"{ran}: {'a false alarm' if last < TRAINS * first else 'it does not train, a true alarm'}."
