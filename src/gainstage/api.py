"""Floor 7, the public functions that put floors together: a diagnosis becomes a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from gainstage.diagnosis.check import diagnose
from gainstage.diagnosis.settings import FAIL_ON
from gainstage.errors import NotTrainable, UnknownNameError
from gainstage.report.document import Report
from gainstage.trace.subject import Subject


def check(
    subject_or_model: Subject | nn.Module,
    batches: Any = None,
    loss: Any = None,
    *,
    optimizer: Any = None,
    steps: int = 0,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
    per_module_ignores: Mapping[str, str | Iterable[str]] | None = None,
    seed: int = 0,
) -> Report:
    """Measures how signal and gradient travel through a model, and names what is wrong with it.

    The model, its buffers, mode, gradients and hooks, the optimizer's state and every random generator are left
    bit for bit as they were, also when it raises.

    Args:
        subject_or_model: A `Subject`, or a module, then with ``batches``.
        batches: One batch or a series of them; see `Subject`.
        loss: ``(outputs, targets) -> scalar``; see `Subject` for what None means.
        optimizer: A built optimizer over the model's parameters.
        steps: If positive, also trains a copy for so many steps; needs an optimizer. Of ten batches or more the last
            fifth is then held out. A run of 100 steps or more is made again without each thing that one pass makes
            doubtful and, if it does not halve the loss, up to five times with another rate or without decay.
        select, ignore: Codes, prefixes (``"INI"``) or names of the rules to judge by.
        per_module_ignores: Glob over dotted module paths to codes, prefixes or names: ``{"backbone.*": ["INI002"]}``.
            A finding is dropped when every layer that it is about lies where its rule is ignored.
        seed: Of all random generators during the measurement.

    Returns:
        The report; ``report.ok`` says whether there is neither an error nor a warning.

    Raises:
        InputError: if an argument is out of its range.
        SubjectError: if model, batch and loss do not fit together.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
        >>> report = gs.check(model, (torch.randn(64, 8), torch.randint(3, (64,))))
        >>> report.ok
        True
    """
    diagnosis = diagnose(
        subject_or_model,
        batches,
        loss,
        optimizer=optimizer,
        steps=steps,
        select=select,
        ignore=ignore,
        per_module_ignores=per_module_ignores,
        seed=seed,
    )
    return Report.from_diagnosis(diagnosis)


def assert_trainable(
    subject_or_model: Subject | nn.Module,
    batches: Any = None,
    loss: Any = None,
    *,
    fail_on: str = "warning",
    **check_options: Any,
) -> None:
    """Raises if `check` finds an error or a warning: for tests.

    Args:
        subject_or_model, batches, loss: As for `check`.
        fail_on: ``"warning"``; ``"error"`` lets warnings pass, ``"never"`` all.
        **check_options: As for `check`.

    Raises:
        InputError: if an argument is out of its range.
        NotTrainable: with the findings as its message.

    Example:
        >>> import torch, gainstage as gs
        >>> gs.assert_trainable(torch.nn.Linear(8, 3), (torch.randn(64, 8), torch.randint(3, (64,))))
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    if fail_on not in FAIL_ON:
        raise UnknownNameError("assert_trainable", "fail_on", fail_on, FAIL_ON)
    report = check(subject_or_model, batches, loss, **check_options)
    if report.fails(fail_on):
        raise NotTrainable(str(report))
