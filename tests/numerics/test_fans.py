import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError
from gainstage.numerics import Fans, fans

# kind, shape, options, fans
GOLDEN = [
    ("closed_form", (30, 20), {}, Fans(20.0, 30.0)),
    ("closed_form", (64, 32, 3, 3), {}, Fans(288.0, 576.0)),
    ("paper", (64, 1, 3, 3), {"groups": 64}, Fans(9.0, 9.0)),  # pytorch issue 23854
    ("closed_form", (64, 16, 5), {"groups": 2}, Fans(80.0, 160.0)),
    ("closed_form", (32, 16, 4, 4), {"transposed": True, "stride": 2}, Fans(128.0, 256.0)),
    ("closed_form", (32, 4, 4, 4), {"transposed": True, "stride": (2, 2), "groups": 4}, Fans(32.0, 64.0)),
    ("closed_form", (64, 32, 1, 1), {"stride": (2, 2)}, Fans(32.0, 16.0)),
]


@pytest.mark.parametrize(("kind", "shape", "options", "expected"), GOLDEN)
def test_golden(kind, shape, options, expected):
    assert kind in ("closed_form", "paper")
    assert fans(shape, **options) == expected


def counted(channels_in, channels_out, kernel, groups, stride, length=240):
    """Twin: the connections of a one-dimensional convolution, counted one by one away from the border."""
    reads = np.zeros((channels_out, channels_in, length))
    outputs = (length - kernel) // stride + 1
    for out in range(channels_out):
        group = out // (channels_out // groups)
        inside = slice(group * channels_in // groups, (group + 1) * channels_in // groups)
        for position in range(outputs):
            reads[out, inside, position * stride : position * stride + kernel] += 1
    per_input = reads[:, :, 60:180].sum(axis=0).mean()
    return Fans(float(channels_in // groups * kernel), float(per_input))


@given(
    groups=st.integers(1, 3),
    per_in=st.integers(1, 3),
    per_out=st.integers(1, 3),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 3),
)
def test_counted_connections(groups, per_in, per_out, kernel, stride):
    expected = counted(groups * per_in, groups * per_out, kernel, groups, stride)
    found = fans((groups * per_out, per_in, kernel), groups=groups, stride=stride)
    assert (found.fan_in, found.fan_out) == pytest.approx((expected.fan_in, expected.fan_out))
    # A transposed convolution is the same map backwards: its fans change places.
    backwards = fans((groups * per_out, per_in, kernel), groups=groups, stride=stride, transposed=True)
    assert backwards == Fans(found.fan_out, found.fan_in)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (4, 2, 0)])
def test_refuses_shapes_without_fans(shape):
    with pytest.raises(InputError, match=r"^fans: shape must have two or more dimensions of at least 1, got \("):
        fans(shape)


def test_refuses_what_does_not_fit():
    with pytest.raises(InputError, match=r"^fans: groups must be positive and divide shape\[0\], got 3 for shape"):
        fans((64, 1, 3, 3), groups=3)
    with pytest.raises(InputError, match=r"^fans: stride must be positive, one for each of 2 kernel dimensions, got"):
        fans((64, 1, 3, 3), stride=(2, 2, 2))
