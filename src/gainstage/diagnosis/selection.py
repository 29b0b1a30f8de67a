"""Which rules judge, and where a finding is not wanted; without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from gainstage.errors import InputError, UnknownNameError
from gainstage.rules import RULES, Rule
from gainstage.rules.base import Finding

Patterns = str | Iterable[str]
ModulePatterns = Mapping[str, Patterns]


def selected(select: Patterns | None, ignore: Patterns | None) -> tuple[Rule, ...]:
    """The rules that ``select`` takes in and ``ignore`` does not.

    Raises:
        UnknownNameError: if a code, prefix or name fits no rule.
    """
    wanted, unwanted = _patterns("select", select), _patterns("ignore", ignore)
    return tuple(
        rule
        for rule in RULES
        if (not wanted or any(_fits(rule, p) for p in wanted)) and not any(_fits(rule, p) for p in unwanted)
    )


@dataclass(frozen=True)
class ModuleIgnores:
    """Rules that are not wanted in some modules.

    Attributes:
        rows: Glob over dotted paths to the codes ignored there.
    """

    rows: tuple[tuple[str, frozenset[str]], ...] = ()

    def cover(self, finding: Finding) -> bool:
        """Whether every layer that the finding is about lies where its rule is ignored.

        One layer elsewhere is enough to keep it: what is ignored in a backbone must not hide the head.
        """
        patterns = [pattern for pattern, codes in self.rows if finding.code in codes]
        places = finding.layers or (finding.module,)
        return bool(patterns) and all(
            any(fnmatchcase(re.sub(r"#\d+$", "", place), pattern) for pattern in patterns) for place in places
        )


def module_ignores(value: ModulePatterns | None) -> ModuleIgnores:
    """The rows of ``{"backbone.*": ["INI002"]}``, with each code, prefix or name resolved.

    Raises:
        InputError: if it is no mapping.
        UnknownNameError: if a code, prefix or name fits no rule.
    """
    given: Any = value or {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"per_module_ignores: must be a mapping of module globs to codes, got {type(value).__name__}. "
            "Write {'backbone.*': ['INI002']}."
        )
    rows = [
        (glob, frozenset(rule.code for rule in RULES for p in _patterns("per_module_ignores", codes) if _fits(rule, p)))
        for glob, codes in cast("ModulePatterns", given).items()
    ]
    return ModuleIgnores(tuple(rows))


def _patterns(argument: str, value: Patterns | None) -> list[str]:
    parts = re.split(r"[,\s]+", value) if isinstance(value, str) else list(value or ())
    patterns = [part for part in parts if part]
    for pattern in patterns:
        if not any(_fits(rule, pattern) for rule in RULES):
            raise UnknownNameError(argument, "a code, prefix or name of a rule", pattern, (r.code for r in RULES))
    return patterns


def _fits(rule: Rule, pattern: str) -> bool:
    return rule.code.startswith(pattern.upper()) or rule.name == pattern.lower()
