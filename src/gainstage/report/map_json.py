"""The JSON Schema of a map of trainability, generated from its record.

python -m gainstage.report.map_json > src/gainstage/report/schemas/map.schema.json

The JSON itself is `TrainabilityMap.to_json`: runs and regions by column, a field of one value once, None left out.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import msgspec

from gainstage.sweep.trainability.records import SCHEMA_VERSION, TrainabilityMap

_COLUMNS = ("cells", "regions")


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of ``gainstage map --format json``, as it is shipped."""
    generated = msgspec.json.schema(TrainabilityMap)
    whole = generated["$defs"]["TrainabilityMap"]
    for name in _COLUMNS:
        whole["properties"][name] = _by_column(generated["$defs"][_record_of(whole["properties"][name])])
    whole["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    for name in ("MapCell", "Region"):
        generated["$defs"].pop(name, None)
    heading: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gainstage map"}
    return json.dumps({**heading, **generated}, ensure_ascii=False, indent=2) + "\n"


def shipped_schema() -> str:
    """The schema file of this installation."""
    return (resources.files("gainstage.report") / "schemas" / "map.schema.json").read_text(encoding="utf-8")


def _record_of(field: dict[str, Any]) -> str:
    return str(field["items"]["$ref"]).rpartition("/")[2]


def _by_column(record: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = record["properties"]
    columns = {name: {"type": "array", "items": {"anyOf": [kind, {"type": "null"}]}} for name, kind in fields.items()}
    parts = {
        "count": {"type": "integer"},
        "same": {"type": "object", "properties": fields, "additionalProperties": False},
        "columns": {"type": "object", "properties": columns, "additionalProperties": False},
    }
    table = {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    return {"anyOf": [table, {"type": "array", "maxItems": 0}]}


if __name__ == "__main__":
    print(schema_text(), end="")
