"""What a sweep trains: a grid of small networks, as pure data."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from gainstage.errors import SpecError, UnknownNameError
from gainstage.sweep.cells import Cell, content_hash
from gainstage.sweep.references import fingerprint, reference, resolve
from gainstage.sweep.settings import RESERVED, canonical, plain
from gainstage.sweep.toml import read_toml, written
from gainstage.version import __version__

METRICS = (
    "batch_loss", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "grad_norm", "weight_norm",
)  # fmt: skip
DTYPES = ("float32", "float64")

# Raised when the engine computes anything differently beyond rounding, so that stored rows are not mixed.
_REVISION = 1


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When a run counts as diverged, fixed beforehand; a loss that is not finite always does.

    Attributes:
        factor: The batch loss exceeds this many times the first batch's.
        above: The batch loss exceeds this.
    """

    factor: float = math.inf
    above: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A sweep: every combination of the axes, one training run each.

    Names of axes, points and fixed values that `gainstage.sweep.Settings` has (``lr``, ``seed``, ``init``, ...) set
    the training; all others are keywords of the model's factory (``depth``, ``width``, ``norm``, ...).

    Attributes:
        name: Of the sweep, for people.
        model: A factory of modules: ``package.module:function``, ``path/file.py:function``, or the function itself
            if it is at the top of a module. It draws its weights from torch's generator, which is seeded.
        data: A function without arguments that returns `gainstage.sweep.Data`; named likewise.
        axes: Name to values; the cells are their product.
        points: Lists of values that go together, each a mapping; each meets the whole product of the axes.
        fixed: Name to the value of all cells; axes and points override.
        steps: Updates of each run.
        measure: The numbers of updates after which the metrics are taken; a whole number n: after 0, n, 2n, ...
            and the last.
        metrics: ``batch_loss`` of the next batch, in training mode, and its ``grad_norm`` before clipping;
            ``train_loss``, ``train_accuracy``, ``test_loss``, ``test_accuracy`` over the whole set, in evaluation
            mode; ``weight_norm`` of all parameters.
        stop: When a run counts as diverged and ends.
        loss: A function (outputs, targets) -> mean over the batch; None: cross-entropy for whole-number targets,
            mean squared error for others.
        dtype: ``float32`` or ``float64``, of weights and inputs.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SpecError: if a field cannot be used.
        UnknownNameError: if a metric, scheme, optimizer or schedule is not known.

    Validity:
        Networks whose whole data fits in memory.

    Example:
        >>> spec = Spec(name="lr", model="nets.py:mlp", data="nets.py:digits", axes={"lr": (0.1, 1), "seed": range(3)})
        >>> spec.axes["lr"], spec.measured[-1]
        ((0.1, 1.0), 100)
    """

    name: str
    model: str | Callable[..., Any]
    data: str | Callable[..., Any]
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
    points: Sequence[Mapping[str, Any]] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: int = 100
    measure: int | Sequence[int] = 10
    metrics: Sequence[str] = ("train_loss", "test_loss", "test_accuracy")
    stop: Stop | Mapping[str, float] = Stop()
    loss: str | Callable[..., Any] | None = None
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        _set(self, "model", reference(self.model))
        _set(self, "data", reference(self.data))
        _set(self, "loss", None if self.loss is None else reference(self.loss))
        _set(self, "stop", _stop(self.stop))
        _set(self, "axes", {name: _axis(name, values) for name, values in self.axes.items()})
        _set(self, "points", tuple(_canonical(point) for point in self.points))
        _set(self, "fixed", _canonical(self.fixed))
        _set(self, "metrics", tuple(self.metrics))
        _set(self, "measure", self.measure if isinstance(self.measure, int) else tuple(plain(list(self.measure))))
        _check(self)

    @property
    def measured(self) -> tuple[int, ...]:
        """The numbers of updates after which the metrics are taken, in order."""
        if isinstance(self.measure, int):
            return tuple(sorted({*range(0, self.steps + 1, self.measure), self.steps}))
        return tuple(sorted(set(self.measure)))

    @property
    def rule(self) -> Stop:
        """The stop rule."""
        return _stop(self.stop)

    def cells(self) -> tuple[Cell, ...]:
        """Every cell, points outermost, then the axes in their order.

        Raises:
            UnknownNameError: if a name is neither reserved nor a keyword of the model's factory.
            SpecError: if the factory cannot be imported, or two cells are the same.

        Example:
            >>> Spec(name="n", model="builtins:dict", data="nets.py:digits", axes={"lr": (1, 2)}).cells()[1].values
            {'lr': 2.0}
        """
        self._check_names()
        grid = [dict(zip(self.axes, chosen, strict=True)) for chosen in itertools.product(*self.axes.values())]
        found = tuple(Cell.of({**self.fixed, **point, **values}) for point in self.points or ({},) for values in grid)
        if len({cell.key for cell in found}) < len(found):
            raise SpecError(
                f"Spec: cells must differ, got {len(found)} of which {len({cell.key for cell in found})} do (in axes "
                "and points). Remove repeated values, or add a seed axis."
            )
        return found

    @property
    def recipe(self) -> str:
        """A hash of everything that turns a cell into its row: equal recipes give equal rows for equal keys.

        Axes, points and fixed values are not in it: they are in the cells' keys, so a sweep that is made larger
        keeps the rows that it has.
        """
        sources = [fingerprint(text) for text in (self.model, self.data, self.loss) if isinstance(text, str)]
        training = [self.steps, self.measured, self.metrics, _numbers(self.rule), self.dtype, self.device.split(":")[0]]
        code = [__version__, _REVISION, torch.__version__.split("+")[0]]
        return content_hash([sources, training, code])

    @property
    def hash(self) -> str:
        """A hash of everything that determines the results: the recipe and the cells."""
        return content_hash([self.recipe, sorted(cell.key for cell in self.cells())])

    @classmethod
    def from_toml(cls, path: str | Path) -> Spec:
        """The specification in a file, whose keys are the fields' names.

        Args:
            path: Of the file; paths of references in it are relative to its folder.

        Raises:
            SpecError: if the file cannot be read, or a field cannot be used.
            UnknownNameError: if a key is no field.
        """
        content = read_toml(Path(path))
        known = tuple(entry.name for entry in fields(cls))
        for key in content:
            if key not in known:
                raise UnknownNameError("Spec.from_toml", f"key of {Path(path).name}", key, known)
        missing = [key for key in ("name", "model", "data") if key not in content]
        if missing:
            raise SpecError(f"Spec.from_toml: {path} must have {', '.join(missing)}, got none. Add them.")
        for key in {"model", "data", "loss"} & set(content):
            content[key] = _anchored(str(content[key]), Path(path).parent)
        return cls(**content)

    def to_toml(self) -> str:
        """The specification as text that `from_toml` reads; paths in it are as they were given, made absolute.

        Raises:
            SpecError: if a value is None, which TOML cannot hold.

        Example:
            >>> print(Spec(name="n", model="m:f", data="m:d", axes={"lr": (0.1,)}, steps=5).to_toml().splitlines()[0])
            name = "n"
        """
        here = Path.cwd()
        content: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for key in ("model", "data", "loss"):
            content[key] = content[key] and _anchored(content[key], here)
        content["stop"] = {key: value for key, value in vars(self.rule).items() if value < math.inf}
        return written({key: value for key, value in content.items() if value not in (None, {}, ())})

    def _check_names(self) -> None:
        names = {*self.axes, *self.fixed, *(name for point in self.points for name in point)}
        accepted = _keywords(resolve(str(self.model)))
        if accepted is None:
            return
        for name in sorted(names - {*RESERVED, *accepted}):
            what = f"axis, point or fixed value of {self.name!r}"
            raise UnknownNameError("Spec", what, name, (*accepted, *RESERVED))


def _set(spec: Spec, name: str, value: Any) -> None:
    object.__setattr__(spec, name, value)  # frozen


def _canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: canonical(name, value) for name, value in values.items()}


def _axis(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise SpecError(f"Spec: axis {name!r} must be a list of values, got {values!r}. Put it in a list, or in fixed.")
    found = tuple(canonical(name, value) for value in values)
    if not found:
        raise SpecError(f"Spec: axis {name!r} must have values, got none. Give some, or remove the axis.")
    return found


def _stop(given: Stop | Mapping[str, float]) -> Stop:
    if isinstance(given, Stop):
        return given
    known = tuple(entry.name for entry in fields(Stop))
    for key in given:
        if key not in known:
            raise UnknownNameError("Spec", "stop rule", key, known)
    return Stop(**{key: float(value) for key, value in given.items()})


def _numbers(rule: Stop) -> list[str]:
    return [repr(rule.factor), repr(rule.above)]


def _check(spec: Spec) -> None:
    """All that is wrong with the fields, at once."""
    wrong: list[str] = []
    every = spec.measure if isinstance(spec.measure, int) else 1
    if not _is_whole(spec.steps) or spec.steps < 1:
        wrong.append(f"steps must be a whole number of at least 1, got {spec.steps!r}")
    elif every < 1:
        wrong.append(f"measure must be at least 1 or a list of steps, got {spec.measure!r}")
    elif not spec.measured or not all(_is_whole(at) and 0 <= at <= spec.steps for at in spec.measured):
        wrong.append(f"measure must lie within 0 and steps ({spec.steps}), got {spec.measure!r}")
    if not (spec.rule.factor > 1 and spec.rule.above > 0):
        wrong.append(f"stop must have a factor above 1 and a loss above 0, got {spec.rule}")
    if spec.dtype not in DTYPES:
        wrong.append(f"dtype must be one of {', '.join(DTYPES)}, got {spec.dtype!r}")
    if spec.device.split(":")[0] not in ("cpu", "cuda"):
        wrong.append(f"device must be cpu, cuda or cuda:N, got {spec.device!r}")
    both = sorted(set(spec.axes) & {name for point in spec.points for name in point})
    if both:
        wrong.append(f"names must be either axes or in points, got {both[0]!r} in both")
    if wrong:
        raise SpecError(f"Spec: {'; '.join(wrong)} (in {spec.name!r}). Mend them.")
    for metric in spec.metrics:
        if metric not in METRICS:
            raise UnknownNameError("Spec", "metric", metric, METRICS)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _anchored(text: str, folder: Path) -> str:
    place, _, name = text.rpartition(":")
    return f"{(folder / place).resolve()}:{name}" if place.endswith(".py") else text


def _keywords(factory: Callable[..., Any]) -> tuple[str, ...] | None:
    """The keywords that a factory takes; None: any, or its signature cannot be read."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(entry.kind is entry.VAR_KEYWORD for entry in parameters):
        return None
    return tuple(entry.name for entry in parameters if entry.kind in (entry.KEYWORD_ONLY, entry.POSITIONAL_OR_KEYWORD))
