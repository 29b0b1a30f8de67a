"""How far a sweep is, as JSON, and the JSON Schema of that, generated from the same record.

python -m gainstage.report.sweep_json > src/gainstage/report/schemas/sweep.schema.json
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import msgspec

from gainstage.sweep.store import Status
from gainstage.version import __version__

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SweepDocument:
    """How far a sweep is: its cells, and how many of them are done, failed, diverged and being worked on."""

    schema_version: int
    gainstage_version: str
    store: str
    name: str
    cells: int
    done: int
    failed: int
    diverged: int
    running: int
    complete: bool


def sweep_json(store: str, status: Status) -> str:
    """The status of a store as indented JSON."""
    document = SweepDocument(SCHEMA_VERSION, __version__, store, **asdict(status), complete=status.complete)
    return json.dumps(asdict(document), ensure_ascii=False, indent=2)


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `sweep_json`, as it is shipped."""
    generated = msgspec.json.schema(SweepDocument)
    generated["$defs"]["SweepDocument"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    heading: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gainstage sweep"}
    return json.dumps({**heading, **generated}, ensure_ascii=False, indent=2) + "\n"


def shipped_schema() -> str:
    """The schema file of this installation."""
    return (resources.files("gainstage.report") / "schemas" / "sweep.schema.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(schema_text(), end="")
