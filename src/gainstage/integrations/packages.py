"""Optional packages, and the one line that is said when they cannot be used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gainstage.errors import TargetError
from gainstage.integrations.vision_operations import declare_vision_operations

_Built = TypeVar("_Built")


def optional(package: str) -> Any:
    """The module of an optional package.

    Raises:
        TargetError: if it is not installed, or fails to import.
    """
    declare_vision_operations()
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise _broken(package, error) from error
        raise TargetError(
            f"TARGET: {package} must be installed for {package}: targets, got no such module. "
            f"pip install {package}, or name a factory of your own as path/to/file.py:factory."
        ) from error
    except Exception as error:  # a package that does not fit the installed torch fails in any way
        raise _broken(package, error) from error


def _broken(package: str, error: Exception) -> TargetError:
    return TargetError(
        f"TARGET: {package} must be importable for {package}: targets, got {first_line(error)}. "
        f"Reinstall it in the version that fits the installed torch; python -c 'import {package}' tries it."
    )


def unknown(package: str, name: str, known: Iterable[str]) -> TargetError:
    """The error for a name that the package does not have, with the nearest ones."""
    names = {entry.lower(): entry for entry in known}
    near = [names[entry] for entry in difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)]
    near = near or [entry for entry in names.values() if name and name.lower() in entry.lower()][:3]
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has {len(names)} others."
    return TargetError(f"TARGET: {package}:NAME must be a model that {package} has, got {name!r}. {hint}")


def built(target: str, build: Callable[[], _Built]) -> _Built:
    """What ``build`` returns.

    Raises:
        TargetError: if it raises anything, with the first line of that.
    """
    try:
        return build()
    except TargetError:
        raise
    except ImportError as error:  # transformers imports a model's code when it is asked for
        raise _broken(target.partition(":")[0], error) from error
    except Exception as error:
        raise TargetError(
            f"TARGET: {target} must build from its configuration, got {first_line(error)}. "
            "Try other --input-shape or --classes, or name a factory of your own as path/to/file.py:factory."
        ) from error


def first_line(error: Exception) -> str:
    """``RuntimeError: what it says``, without the paragraphs below it and without a full stop.

    Of an import that failed over another one, what the innermost says: the outer ones only pass it on.
    """
    while isinstance(error, ImportError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said.rstrip('.')}" if said else type(error).__name__
