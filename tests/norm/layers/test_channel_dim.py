"""Where the channels should be and the input ends."""

from __future__ import annotations

import pytest
import torch

from gainstage.errors import InputError
from gainstage.norm.layers import LayerScale


@pytest.mark.parametrize("dim", [3, -3])
def test_an_input_without_the_dimension_of_channels_is_refused(dim: int) -> None:
    with pytest.raises(InputError, match=f"input must have a dimension {dim} for its channels, got shape"):
        LayerScale(4, dim=dim)(torch.randn(2, 4))
