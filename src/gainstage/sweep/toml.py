"""TOML for specifications: read by the standard library, written here, where it is a few types."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gainstage.errors import SpecError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] - installed for Python 3.10 alone


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file.

    Raises:
        SpecError: if there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(
            f"Spec.from_toml: the file must be readable, got {str(path)!r} ({error.strerror}). Is the path right?"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"Spec.from_toml: {path} must be TOML, got: {error}. Mend that place.") from error


def written(content: Mapping[str, Any]) -> str:
    """Text that `read_toml` reads as the same content.

    Args:
        content: Keys to numbers, texts, booleans, and lists and mappings of these.

    Raises:
        SpecError: if there is a None, for which TOML has no word, or anything else that it cannot hold.

    Example:
        >>> print(written({"steps": 3, "axes": {"lr": (0.1, 1.0)}}))
        steps = 3
        axes = {lr = [0.1, 1.0]}
        <BLANKLINE>
    """
    return "".join(f"{_key(key)} = {_value(value, key)}\n" for key, value in content.items())


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's but for the delete character, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(k))} = {_value(v, f'{place}.{k}')}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(entry, place) for entry in value) + "]"
    raise SpecError(
        f'Spec.to_toml: {place} must hold numbers, texts, booleans, lists or mappings, got {value!r}. Write "none" '
        "for a None, and let the factory read that."
    )
