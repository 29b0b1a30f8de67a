import pytest
import torch

from gainstage.lab.catalogue.depth.identity_bias import IdentityDesign
from gainstage.lab.measurements.depth.identity_bias import initialized_, net_rows, slope

SMALL = IdentityDesign(seeds=1, blocks=6, width=128, batch=128)


@pytest.mark.parametrize(("net", "shares"), [("branch", [1 / (b + 1) for b in range(1, 7)]), ("stream", [0.5] * 6)])
def test_shares_follow_the_closed_form(net, shares):
    found = [row["share"] for row in net_rows(SMALL, 1000, net)[1:]]
    # closed_form; width 128 leaves a branch's variance uncertain by a few in a hundred
    assert found == pytest.approx(shares, rel=0.25)


def test_the_stream_starts_with_variance_one():
    model = initialized_(torch.nn.Sequential(torch.nn.Linear(64, 512)), 0)
    with torch.no_grad():
        outputs = model(torch.randn(256, 64, generator=torch.Generator().manual_seed(0)))
    assert float(outputs.var()) == pytest.approx(1.0, abs=0.1)


def test_a_net_that_overflows_has_no_figures():
    rows = net_rows(IdentityDesign(seeds=1, blocks=1100, width=8, batch=8, maps=1), 0, "none")
    assert rows[0]["level"] is None


def test_slope_of_a_line():
    assert slope([0.0, 1.0, 3.0], [1.0, 3.0, 7.0]) == pytest.approx(2.0)
