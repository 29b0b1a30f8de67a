"""A suggested learning rate as JSON, and the JSON Schema of that, generated from the same record.

python -m gainstage.report.lr_json > src/gainstage/report/schemas/lr.schema.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import msgspec

from gainstage.landscape.learning_rate.records import LearningRate
from gainstage.version import __version__

SCHEMA_VERSION = 1

Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class RunDocument:
    """A short run at a constant rate; null is a loss that was not finite."""

    lr: float
    held: bool
    last: float | None
    losses: Numbers


@dataclass(frozen=True)
class CurveDocument:
    """Losses over rates or step sizes; null is one that was not finite."""

    rates: tuple[float, ...]
    losses: Numbers


@dataclass(frozen=True)
class LearningRateDocument:
    """A suggested learning rate and what it rests on; ``profile`` holds relative losses."""

    schema_version: int
    gainstage_version: str
    name: str
    optimizer: str
    recommended: float
    safe_max: float
    reason: str
    validity: str
    notes: tuple[str, ...]
    held: float | None
    lost: float | None
    start: float
    reference: float
    noise: float
    curvature_limit: float | None
    equivalents: float
    runs: tuple[RunDocument, ...]
    ramp: CurveDocument
    profile: CurveDocument


def lr_json(found: LearningRate) -> str:
    """The suggestion as indented JSON."""
    runs = tuple(RunDocument(run.lr, run.held, _finite(run.last), _numbers(run.losses)) for run in found.runs)
    document = LearningRateDocument(
        SCHEMA_VERSION, __version__, found.name, found.optimizer, found.recommended, found.safe_max, found.reason,
        found.validity, found.notes, found.held, found.lost, found.start, found.reference, found.noise,
        found.curvature_limit, found.equivalents, runs, CurveDocument(found.ramp[0], _numbers(found.ramp[1])),
        CurveDocument(found.profile.steps, _numbers(found.profile.mean)),
    )  # fmt: skip
    return json.dumps(asdict(document), ensure_ascii=False, indent=2, allow_nan=False)


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `lr_json`, as it is shipped."""
    generated = msgspec.json.schema(LearningRateDocument)
    generated["$defs"]["LearningRateDocument"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    heading: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gainstage lr"}
    return json.dumps({**heading, **generated}, ensure_ascii=False, indent=2) + "\n"


def shipped_schema() -> str:
    """The schema file of this installation."""
    return (resources.files("gainstage.report") / "schemas" / "lr.schema.json").read_text(encoding="utf-8")


def _numbers(values: Iterable[float]) -> Numbers:
    return tuple(_finite(value) for value in values)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    print(schema_text(), end="")
