"""Functions named by text, so that a specification is pure data: it can be stored, sent and compared.

``package.module:function`` or ``path/to/file.py:function``.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from gainstage.errors import SpecError

_RESOLVED: dict[str, Callable[..., Any]] = {}


def reference(function: str | Callable[..., Any]) -> str:
    """The text that names a function; a text is returned as it is.

    Args:
        function: One that `resolve` finds again in another process: at the top of a module or of a script.

    Raises:
        SpecError: if it is a lambda, a closure or anything else that has no name of its own.

    Example:
        >>> import json
        >>> reference(json.dumps), reference("nets.py:mlp")
        ('json:dumps', 'nets.py:mlp')
    """
    if isinstance(function, str):
        place, name = _parts(function)
        return f"{place}:{name}"
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    place = _script() if module == "__main__" else module
    if not place or not name or "<" in name or _attribute(sys.modules.get(module), name) is not function:
        raise SpecError(
            f"Spec: a function must be importable by its name, got {name or function!r} of {module or 'nowhere'}. "
            "Define it at the top of a module, so that another process can find it."
        )
    _RESOLVED[f"{place}:{name}"] = function
    return f"{place}:{name}"


def resolve(text: str) -> Callable[..., Any]:
    """The function that a reference names; imports its module.

    Args:
        text: As `reference` returns it. A relative path starts from the working directory.

    Raises:
        SpecError: if the module cannot be imported or has no such function.

    Example:
        >>> resolve("json:dumps")([1, 2])
        '[1, 2]'
    """
    if text not in _RESOLVED:
        place, name = _parts(text)
        found = _attribute(_module(place, text), name)
        if not callable(found):
            raise SpecError(
                f"Spec: {text!r} must name a function, got {type(found).__name__}. Is {name!r} spelled as in {place}?"
            )
        _RESOLVED[text] = found
    return _RESOLVED[text]


def fingerprint(text: str) -> str:
    """A hash of the source that a reference leads to: changed code is another sweep, a moved file is not.

    Args:
        text: A reference.

    Returns:
        Hexadecimal digits; for a place without source (a compiled module) of its name alone.

    Raises:
        SpecError: if there is no such place.

    Validity:
        Sees the file that the function is in, not what that file imports.

    Example:
        >>> fingerprint("json:dumps") == fingerprint("json:loads")
        False
    """
    place, name = _parts(text)
    path = Path(place) if place.endswith(".py") else _origin(place, text)
    if place.endswith(".py") and not path.is_file():
        raise _missing_file(place)
    source = path.read_bytes() if path.is_file() else place.encode()
    return hashlib.sha256(source + b"\0" + name.encode()).hexdigest()[:16]


def _parts(text: str) -> tuple[str, str]:
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise SpecError(f"Spec: a reference must be file.py:function or package.module:function, got {text!r}.")
    return place, name


def _attribute(module: ModuleType | None, dotted: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found


def _script() -> str:
    """The file that python was started with, which other processes know by its path alone."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return str(Path(file).resolve()) if file else ""


def _origin(place: str, text: str) -> Path:
    if place in sys.modules:
        return Path(getattr(sys.modules[place], "__file__", None) or "")
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise SpecError(
            f"Spec: {text!r} must be importable, got no module {place!r}. Is it installed, or the path right?"
        )
    return Path(found.origin or "")


def _module(place: str, text: str) -> ModuleType:
    try:
        return _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"Spec: {text!r} must be importable, got {type(error).__name__}: {error}. Import it by itself in Python."
        ) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise _missing_file(str(path))
    # The path is in the name: two files called nets.py are two modules.
    name = f"_sweep_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"Spec: the file must be Python source, got {str(path)!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Its neighbours are importable, as when it is run as a script.
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _missing_file(place: str) -> SpecError:
    return SpecError(
        f"Spec: the file must exist, got {place!r}. Paths are relative to {Path.cwd()}, or to the TOML file."
    )
