"""TARGET: what to examine, named on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

import gainstage as gs
from gainstage.errors import GainstageError, TargetError

if TYPE_CHECKING:
    from gainstage import Subject

TARGET = typer.Argument(help="path/to/file.py:factory or package.module:factory", metavar="TARGET")
INPUT_SHAPE = typer.Option(
    None, "--input-shape", help="Of one sample, e.g. 3,32,32: for a factory that returns a model alone."
)
CLASSES = typer.Option(None, "--classes", help="Number of classes, likewise; without it the targets are numbers.")
BATCH_SIZE = typer.Option(64, "--batch-size", min=1, help="Samples in the batch that is made for a model alone.")

_SHAPES = "a Subject, a tuple (model, batches, loss, optimizer), or a model with --input-shape"


def load(target: str, input_shape: str | None = None, classes: int | None = None, batch_size: int = 64) -> Subject:
    """The subject that a TARGET names.

    Raises:
        TargetError: if it cannot be found, imported or called, or does not return a subject.
    """
    place, separator, name = target.rpartition(":")
    if place in ("torchvision", "timm", "transformers"):
        raise TargetError(
            f"TARGET: {place}: names are not in this version, got {target!r}. "
            "Write a factory that builds the model, and name it as path/to/file.py:factory."
        )
    if not separator or not place or not name:
        raise TargetError(f"TARGET: must be file.py:factory or package.module:factory, got {target!r}.")
    factory = _factory(_module(place, target), name, target)
    try:
        made = factory()
    except GainstageError:
        raise
    except Exception as error:
        raise TargetError(
            f"TARGET: {target} must build without arguments, got {type(error).__name__}: {error} (in {name}()). "
            "Run it by itself in Python, or add --debug."
        ) from error
    return _subject(made, target, input_shape, classes, batch_size)


def _module(place: str, target: str) -> ModuleType:
    try:
        return _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except GainstageError:
        raise
    except ModuleNotFoundError as error:
        raise TargetError(
            f"TARGET: {target} must be importable, got: {error}. Is it installed, or the path right?"
        ) from error
    except Exception as error:
        raise TargetError(
            f"TARGET: {target} must be importable, got {type(error).__name__}: {error}. "
            "Import it by itself in Python, or add --debug."
        ) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"TARGET: the file must exist, got {str(path)!r}. Paths are relative to {Path.cwd()}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"TARGET: the file must be Python source, got {str(path)!r}.")
    module = importlib.util.module_from_spec(spec)
    # Its neighbours are importable, as when it is run as a script; its classes are found by their module's name.
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules.setdefault(spec.name, module)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _factory(module: ModuleType, name: str, target: str) -> Callable[[], Any]:
    factory = getattr(module, name, None)
    if callable(factory):
        return factory
    own = [
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]
    known = f" It defines {', '.join(own[:8])}." if own else ""
    raise TargetError(
        f"TARGET: {name!r} must be a function in {module.__name__}, got {type(factory).__name__} ({target}).{known}"
    )


def _subject(made: Any, target: str, input_shape: str | None, classes: int | None, batch_size: int) -> Subject:
    import torch  # late: naming a wrong file should not take two seconds

    if isinstance(made, gs.Subject):
        return made
    name = target.rpartition(":")[2]
    if isinstance(made, tuple) and made and isinstance(made[0], torch.nn.Module):
        if len(made) == 1:
            made = made[0]
        else:
            fields: dict[str, Any] = {"name": name}
            fields.update(zip(("model", "batches", "loss", "optimizer", "name", "forward"), made, strict=False))
            return gs.Subject(**fields)
    if not isinstance(made, torch.nn.Module):
        raise TargetError(f"TARGET: {target} must return {_SHAPES}, got {type(made).__name__}.")
    if input_shape is None:
        raise TargetError(
            f"TARGET: {target} returns a model alone, got no batch. "
            "Add --input-shape 3,32,32 --classes 10, or return (model, batch)."
        )
    try:
        shape = tuple(int(size) for size in input_shape.replace("x", ",").split(","))
    except ValueError:
        raise TargetError(f"--input-shape: must be whole numbers such as 3,32,32, got {input_shape!r}.") from None
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch_size, *shape, generator=generator)
    targets = torch.randint(classes, (batch_size,), generator=generator) if classes else None
    return gs.Subject(made, inputs if targets is None else (inputs, targets), name=name)
