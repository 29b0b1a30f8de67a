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
from gainstage.diagnosis.settings import Settings, settings_near
from gainstage.errors import GainstageError, TargetError
from gainstage.integrations import BUILT_IN, built_in_subject
from gainstage.integrations.wishes import Wishes

if TYPE_CHECKING:
    from gainstage import Subject

FORMS = "path/to/file.py:factory, package.module:factory, torchvision:NAME, timm:NAME or transformers:CONFIG.json"
TARGET = typer.Argument(help=FORMS, metavar="TARGET")
INPUT_SHAPE = typer.Option(
    None, "--input-shape", help="Of one sample, e.g. 3,32,32: for a factory that returns a model alone, or a NAME."
)
CLASSES = typer.Option(
    None, "--classes", min=1, help="Number of classes, likewise; without it numbers are targets, or as NAME has it."
)
BATCH_SIZE = typer.Option(
    None, "--batch-size", min=1, help="Samples in the batch that is made: 64 for a model alone, a few for a NAME."
)
WEIGHTS = typer.Option(
    None, "--weights", help="Load this state dict into the model: .safetensors, or what torch.load reads."
)

_SHAPES = "a Subject, a tuple (model, batches, loss, optimizer), or a model with --input-shape"


def load(
    target: str,
    input_shape: str | None = None,
    classes: int | None = None,
    batch_size: int | None = None,
    weights: Path | None = None,
) -> Subject:
    """The subject that a TARGET names.

    Raises:
        TargetError: if it cannot be found, imported or called, or does not return a subject.
        InputError: if the weights cannot be read, or do not fit it.
    """
    wishes = Wishes(_shape(input_shape), classes, batch_size)
    package, _, rest = target.partition(":")
    if package in BUILT_IN:
        if not rest:
            raise TargetError(f"TARGET: {package}: must be followed by a model, got {target!r}. Forms: {FORMS}.")
        subject = built_in_subject(package, rest, wishes)
    else:
        subject = _subject(_made(target), target, wishes)
    if weights is not None:
        from gainstage.cli.weights import load_weights_  # late: it needs torch

        load_weights_(subject.model, weights)
    return subject


def settings(target: str) -> Settings:
    """Those of the project that a TARGET's file lies in; of the working directory where it names no file.

    Raises:
        InputError: if they cannot be used.
    """
    file = Path(target.rpartition(":")[0])
    return settings_near(file.parent if file.suffix == ".py" else Path.cwd())


def _made(target: str) -> Any:
    place, separator, name = target.rpartition(":")
    if not separator or not place or not name:
        raise TargetError(f"TARGET: must be {FORMS}, got {target!r}.")
    factory = _factory(_module(place, target), name, target)
    try:
        return factory()
    except GainstageError:
        raise
    except Exception as error:
        raise TargetError(
            f"TARGET: {target} must build without arguments, got {type(error).__name__}: {error} (in {name}()). "
            "Run it by itself in Python, or add --debug."
        ) from error


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        sizes = tuple(int(size) for size in text.replace("x", ",").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise TargetError(f"--input-shape: must be whole numbers such as 3,32,32, got {text!r}.")
    return sizes


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


def _subject(made: Any, target: str, wishes: Wishes) -> Subject:
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
    if wishes.input_shape is None:
        raise TargetError(
            f"TARGET: {target} returns a model alone, got no batch. "
            "Add --input-shape 3,32,32 --classes 10, or return (model, batch)."
        )
    generator, samples = torch.Generator().manual_seed(0), wishes.count(64)
    inputs = torch.randn(samples, *wishes.input_shape, generator=generator)
    targets = torch.randint(wishes.classes, (samples,), generator=generator) if wishes.classes else None
    return gs.Subject(made, inputs if targets is None else (inputs, targets), name=name)
