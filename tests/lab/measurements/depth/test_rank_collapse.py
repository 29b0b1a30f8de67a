import pytest
import torch

from gainstage.lab.measurements.depth.rank_collapse import NORMS, _exponent_row, representations
from gainstage.landscape import ranks
from gainstage.seeding import generator


def last(nets, layers=300, width=12, gamma=None):
    draws = generator(1000, "test")
    return representations(width, layers, nets, draws, gamma=gamma, every=layers)[-1][1]


def test_without_skips_only_batch_norm_keeps_a_rank():
    found = {net: ranks(h.T).trace_rank for net, h in zip(NORMS, last(list(NORMS)), strict=True)}
    assert found["batch"] > 2
    assert found["centered"] > 2
    assert found["none"] == pytest.approx(1.0, abs=0.05)
    assert found["layer"] == pytest.approx(1.0, abs=0.05)


def test_nets_side_by_side_are_those_alone():
    torch.testing.assert_close(last(["batch", "none"], 20, gamma=0.5)[1], last(["none"], 20, gamma=0.5)[0])


def test_batch_norm_is_the_theorems():
    # M = HHᵀ/N has ones on its diagonal
    h = NORMS["batch"](torch.randn(5, 9, generator=generator(0, "test"), dtype=torch.float64))
    torch.testing.assert_close((h @ h.T / 9).diagonal(), torch.ones(5, dtype=torch.float64))


def test_one_plus_a_root_has_the_exponent_of_the_theorem():
    rows = [{"kind": "late", "net": "batch", "width": d, "trace_rank": 1 + 0.8 * d**0.5} for d in (16, 32, 64)]
    found = _exponent_row(rows)
    assert found["exponent"] == pytest.approx(0.5)
    assert 0.3 < found["rank_exponent"] < 0.5
    assert _exponent_row([{**row, "trace_rank": 1.0} for row in rows])["exponent"] is None
