"""Records to JSON and back, without loss.

JSON has no NaN, so a non-finite number is written as a string. A tuple of records is written by column: each field's
name stands once, and a field that is the same for all of them is written once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any, TypeVar

import msgspec

from gainstage.errors import InputError

Record = TypeVar("Record")

_SPELLINGS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_builtins(value: Any) -> Any:
    """Dicts, lists, strings and finite numbers for a (nested) record; fields at None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_builtins(item) for name, item in pairs if item is not None}
    if isinstance(value, dict):
        return {str(key): to_builtins(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_builtins(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def to_json(record: Any) -> str:
    """The record as compact JSON."""
    return json.dumps(_compact(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _compact(record: Any) -> dict[str, Any]:
    """`to_builtins` of a record, its tuples of records by column."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        many = isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0])
        if value is not None:
            found[field.name] = _columns(value) if many else to_builtins(value)
    return found


def _columns(records: tuple[Any, ...]) -> dict[str, Any]:
    same: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for field in dataclasses.fields(records[0]):
        values = [getattr(record, field.name) for record in records]
        present = [value for value in values if value is not None]
        if present and dataclasses.is_dataclass(present[0]):
            at = [row for row, value in enumerate(values) if value is not None]
            columns[field.name] = [{"at": at, **_columns(tuple(present))}]
            continue
        values = [to_builtins(value) for value in values]
        if all(value == values[0] and type(value) is type(values[0]) for value in values):
            if values[0] is not None:
                same[field.name] = values[0]
        else:
            columns[field.name] = values
    return {"count": len(records), "same": same, "columns": columns}


def _rows(value: Any) -> Any:
    """The inverse of `_columns`; anything else as it is."""
    if not isinstance(value, dict) or value.keys() != {"count", "same", "columns"}:
        return value
    count, same, columns = value["count"], value["same"], value["columns"]
    for name, column in columns.items() if isinstance(columns, dict) else ():
        nested = column[0] if isinstance(column, list) and len(column) == 1 else None
        if isinstance(nested, dict) and "at" in nested:
            rows = _rows({key: item for key, item in nested.items() if key != "at"})
            by_row = dict(zip(nested["at"], rows, strict=True))
            columns = {**columns, name: [by_row.get(row) for row in range(count)]}
    whole = isinstance(count, int) and isinstance(same, dict) and isinstance(columns, dict)
    if not whole or any(not isinstance(column, list) or len(column) != count for column in columns.values()):
        raise msgspec.ValidationError("columns of different lengths")
    return [
        {**same, **{name: column[row] for name, column in columns.items() if column[row] is not None}}
        for row in range(count)
    ]


def from_json(text: str, record_type: type[Record], schema_version: int) -> Record:
    """A record of ``record_type`` from what `to_json` wrote.

    Raises:
        InputError: if the text is not JSON, not such a record, or of another schema version.
    """
    what = record_type.__name__
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InputError(f"{what}.from_json: text must be JSON, got {text[:40]!r} ({error}).") from error
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    if found != schema_version:
        raise InputError(
            f"{what}.from_json: schema_version must be {schema_version}, got {found!r}. "
            "Record it anew with this version of gainstage."
        )
    try:
        raw = {key: _rows(value) for key, value in raw.items()}
        return msgspec.convert(_with_floats(raw, record_type), record_type)
    except msgspec.ValidationError as error:
        raise InputError(f"{what}.from_json: not a valid record ({error}).") from error


def _with_floats(value: Any, declared: Any) -> Any:
    """`value` with the spelled-out numbers turned back, only where a float is declared (a module may be
    called ``NaN``)."""
    if declared is float and isinstance(value, str):
        return _SPELLINGS.get(value, value)
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            value = _with_floats(value, option)
        return value
    if origin is tuple and isinstance(value, list) and arguments:
        return [_with_floats(item, arguments[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _with_floats(item, arguments[1]) for key, item in value.items()}
    if dataclasses.is_dataclass(declared) and isinstance(value, dict):
        hints = typing.get_type_hints(declared)
        return {key: _with_floats(item, hints.get(key)) for key, item in value.items()}
    return value
