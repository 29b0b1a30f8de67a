"""`Settings`: what a project's ``pyproject.toml`` says about its checks; without torch."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gainstage.diagnosis.selection import selected
from gainstage.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] - installed for Python 3.10 alone

FAIL_ON = ("error", "warning", "never")


@dataclass(frozen=True)
class Settings:
    """``[tool.gainstage]``; what is empty is as gainstage has it.

    Attributes:
        select, ignore: Codes, prefixes or names of rules.
        fail_on: The least severity that makes a check fail; ``never``: none.
        per_module_ignores: Glob over dotted module paths to codes that are ignored there.
        source: The file that they come from, or None.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str = "warning"
    per_module_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    source: Path | None = None

    def check_options(self) -> dict[str, Any]:
        """As keyword arguments of `gainstage.check`."""
        return {"select": self.select, "ignore": self.ignore, "per_module_ignores": self.per_module_ignores}


def settings_near(folder: Path) -> Settings:
    """The settings of the nearest ``pyproject.toml`` with ``[tool.gainstage]``, in the folder or above it.

    Raises:
        InputError: in one line, if such a file cannot be read or has something in the table that cannot be used.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        path = place / "pyproject.toml"
        if path.is_file():
            tool = _parsed(path).get("tool", {})
            if isinstance(tool, dict) and "gainstage" in tool:
                return _settings(cast("Any", tool)["gainstage"], path)
    return Settings()


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"[tool.gainstage]: {path} must be readable TOML, got {said}. Mend the file.") from error


def _settings(table: Any, path: Path) -> Settings:
    """Every entry is looked at before anything is said."""
    entries: dict[str, Any] = table if isinstance(table, dict) else {}
    faults = [] if isinstance(table, dict) else [f"it must be a table, got {type(table).__name__}"]
    faults += [_unknown(key) for key in entries if key not in _CHECKS]
    faults += [fault for key, check in _CHECKS.items() if key in entries for fault in check(key, entries[key])]
    if faults:
        raise InputError(f"[tool.gainstage] in {path}: {'; '.join(faults)}. Mend the file; docs/ci.md has an example.")
    return Settings(
        _codes(entries.get("select", ())),
        _codes(entries.get("ignore", ())),
        entries.get("fail-on", "warning"),
        {glob: _codes(codes) for glob, codes in entries.get("per-module-ignores", {}).items()},
        path,
    )


def _codes(value: Any) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else tuple(value)


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key.replace("_", "-"), _CHECKS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_CHECKS)}"
    return f"no setting is called {key!r} ({hint})"


def _rule_faults(key: str, value: Any) -> list[str]:
    if not isinstance(value, (str, list)):
        return [f"{key} must be a list of rules' codes, got {value!r}"]
    faults: list[str] = []
    for code in _codes(cast("Any", value)):
        if not isinstance(cast("Any", code), str):
            faults.append(f"{key} must hold codes as text, got {code!r}")
            continue
        try:
            selected(code, None)
        except InputError as error:
            faults.append(str(error).replace("select:", f"{key}:", 1).rstrip("."))
    return faults


def _severity_faults(key: str, value: Any) -> list[str]:
    return [] if value in FAIL_ON else [f"{key} must be {', '.join(FAIL_ON[:-1])} or {FAIL_ON[-1]}, got {value!r}"]


def _module_faults(key: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f'{key} must be a table such as {{"backbone.*" = ["INI002"]}}, got {value!r}']
    return [
        fault
        for glob, codes in cast("dict[str, Any]", value).items()
        for fault in _rule_faults(f'{key}."{glob}"', codes)
    ]


_CHECKS: dict[str, Callable[[str, Any], list[str]]] = {
    "select": _rule_faults,
    "ignore": _rule_faults,
    "fail-on": _severity_faults,
    "per-module-ignores": _module_faults,
}
