import math

import pytest

from gainstage.errors import InputError
from gainstage.numerics import require_non_negative, require_positive, require_within


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_positive_refuses(value):
    with pytest.raises(InputError, match=r"^gain: q must be positive and finite, got .*\. Give one\.$"):
        require_positive("gain", "q", value, "Give one.")


@pytest.mark.parametrize("value", [-1e-300, math.nan, math.inf])
def test_non_negative_refuses(value):
    with pytest.raises(InputError, match=r"^gain: q must be finite and at least 0, got .*\. Give one\.$"):
        require_non_negative("gain", "q", value, "Give one.")


@pytest.mark.parametrize("value", [-1.1, 1.1, math.nan])
def test_within_refuses(value):
    with pytest.raises(InputError, match=r"^gain: c must be in \[-1, 1\], got .*\. Give one\.$"):
        require_within("gain", "c", value, -1, 1, "Give one.")


def test_open_range_excludes_its_ends():
    with pytest.raises(InputError, match=r"must be in \(0, 1\), got 1"):
        require_within("gain", "p", 1, 0, 1, "Give one.", closed=False)
