"""A selection of the zoo under surgery; `make zoo-surgery` takes all of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from zoo.cases import CASES
from zoo.surgery import surveyed

pytestmark = pytest.mark.filterwarnings("ignore")
SELECTION = """
    torch:residual-blocks torch:channels-last torch:lazy-modules torch:scripted torch:state-of-its-own
    torch:older-weight-and-spectral-norm torch:gradient-inside-the-forward torch:bfloat16 torch:data-parallel
    timm:levit_128s timm:regnety_002 timm:resnet18 torchvision:shufflenet_v2_x0_5
""".split()  # noqa: SIM905 - as in zoo.timm_models


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECTION)
def test_surgery(name: str) -> None:
    if name not in CASES:
        pytest.skip(f"{name.partition(':')[0]} is missing")
    row = surveyed(CASES[name])
    assert row.failed == {}
    assert row.recalibrated <= row.batch_norms
    assert (row.folded > 0) == (row.batch_norms > 0)
    assert row.replaced == row.batch_norms
