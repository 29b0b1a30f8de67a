"""Rows as flat tables: dictionaries, and Parquet."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gainstage.errors import InputError
from gainstage.sweep.cells import Row

_BATCH = 1000


def flat(row: Row) -> dict[str, Any]:
    """A row as one level of names; see `gainstage.sweep.Result.to_rows`."""
    figures: dict[str, Any] = {"steps": row.steps}
    for metric, curve in row.curves.items():
        figures[metric] = curve[-1] if curve else None
        figures[f"{metric}_curve"] = curve
    figures |= {"diverged_at": row.diverged_at, "error": row.error, "mode": row.mode}
    taken = {"key", *figures}
    values = {f"value_{name}" if name in taken else name: value for name, value in row.values.items()}
    return {"key": row.key, **values, **figures}


def write_parquet(rows: Iterable[Row], path: Path) -> Path:
    """Writes rows as a Parquet file, whole or not at all; see `gainstage.sweep.Result.to_parquet`.

    Args:
        rows: Are gone through twice: their types must be known before the first is written.
        path: Where to.

    Raises:
        InputError: if pyarrow is not installed, or the file cannot be written.
    """
    arrow, parquet = _imported("pyarrow"), _imported("pyarrow.parquet")
    kinds = _kinds(map(flat, rows))
    schema = arrow.schema([(name, _type(arrow, kind)) for name, kind in kinds.items()])
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with parquet.ParquetWriter(beside, schema) as writer:
            for batch in _batches(rows):
                writer.write_table(arrow.Table.from_pylist([_fitted(row, kinds) for row in batch], schema))
        os.replace(beside, path)
    except OSError as error:
        raise InputError(
            f"to_parquet: path must be writable, got {str(path)!r} ({error}). Choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return path


def _kinds(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            kind = "list" if isinstance(value, list | tuple) else type(value).__name__
            found.setdefault(name, set()).add(kind)
    return {name: _kind(name, kinds - {"NoneType"}) for name, kinds in found.items()}


def _kind(name: str, kinds: set[str]) -> str:
    if name == "steps" or name.endswith("_curve"):
        return "steps" if name == "steps" else "curve"
    if kinds == {"int", "float"}:
        return "float"
    if not kinds:
        return {"diverged_at": "int"}.get(name, "str")
    return next(iter(kinds)) if len(kinds) == 1 and kinds <= {"int", "float", "bool", "str"} else "json"


def _type(arrow: Any, kind: str) -> Any:
    return {
        "int": arrow.int64(), "float": arrow.float64(), "bool": arrow.bool_(), "str": arrow.string(),
        "json": arrow.string(), "steps": arrow.list_(arrow.int64()), "curve": arrow.list_(arrow.float64()),
    }[kind]  # fmt: skip


def _fitted(row: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: json.dumps(value, sort_keys=True) if kinds[name] == "json" and value is not None else value
        for name, value in row.items()
    }


def _batches(rows: Iterable[Row]) -> Iterator[list[dict[str, Any]]]:
    flattened = map(flat, rows)
    while batch := list(itertools.islice(flattened, _BATCH)):
        yield batch


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"to_parquet: pyarrow must be installed, got {error}. pip install 'gainstage[parquet]'."
        ) from None
