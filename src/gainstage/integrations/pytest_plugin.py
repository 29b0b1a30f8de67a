"""A pytest plugin: fixtures that check a model by the project's own settings.

pytest loads it in every run, also of projects that have gainstage installed for something else: it imports no more
than the names, and torch when a fixture is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gainstage as gs

if TYPE_CHECKING:
    from gainstage.diagnosis.settings import Settings


def _settings(request: pytest.FixtureRequest) -> Settings:
    from gainstage.diagnosis.settings import settings_near  # late: every run of pytest would wait for the rules

    return settings_near(Path(request.path).parent)


@pytest.fixture
def gainstage_check(request: pytest.FixtureRequest) -> Callable[..., gs.Report]:
    """`gainstage.check`, with what ``[tool.gainstage]`` says of select, ignore and per-module-ignores."""
    settings = _settings(request)

    def check(subject_or_model: Any, batches: Any = None, loss: Any = None, **check_options: Any) -> gs.Report:
        return gs.check(subject_or_model, batches, loss, **{**settings.check_options(), **check_options})

    return check


@pytest.fixture
def assert_trainable(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`gainstage.assert_trainable`, with what ``[tool.gainstage]`` says, fail-on included."""
    settings = _settings(request)
    defaults = {"fail_on": settings.fail_on, **settings.check_options()}

    def assert_trainable(subject_or_model: Any, batches: Any = None, loss: Any = None, **check_options: Any) -> None:
        __tracebackhide__ = True  # the findings are what is wrong, not this line
        gs.assert_trainable(subject_or_model, batches, loss, **{**defaults, **check_options})

    return assert_trainable
