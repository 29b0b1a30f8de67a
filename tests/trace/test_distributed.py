"""Inside a process group each rank records its own, alone: nothing hangs, no collective is issued."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import gainstage as gs
from gainstage.trace.alone import stand_alone

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def batch_of(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(12, 8, generator=generator), torch.randint(3, (12,), generator=generator)


def run_rank(rank: int, port: int, results: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        plain = nn.parallel.DistributedDataParallel(network())
        inputs, targets = batch_of(rank)
        if rank == 0:  # the other rank takes no part: a collective would wait for it for ever
            traces = [gs.record(plain, (inputs, targets)).to_json()]
            synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(network())
            both = gs.record(synchronized, (inputs, targets))
            traces += [both.to_json(), both.skipped[0]]
        else:
            traces = [gs.record(plain, (inputs, targets)).to_json()]
        # The wrapper still trains: both ranks come to the same gradient.
        nn.functional.cross_entropy(plain(inputs), targets).backward()
        results[rank] = (traces, plain.module[0].weight.grad.numpy().tobytes(), "forward" in vars(plain))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_each_rank_records_its_own_and_waits_for_nobody() -> None:
    with mp.Manager() as manager:
        results = manager.dict()
        context = mp.spawn(run_rank, (29_611 + os.getpid() % 1000, results), nprocs=2, join=False)
        deadline = time.monotonic() + 120
        while not context.join(timeout=5):
            assert time.monotonic() < deadline, "a rank hangs"
        found = dict(results)

    assert [found[rank][1] for rank in (0, 1)] == [found[0][1]] * 2
    assert not found[0][2]
    alone = [gs.record(network(), batch_of(rank)) for rank in (0, 1)]
    for rank in (0, 1):
        trace = gs.Trace.from_json(found[rank][0][0])
        assert [layer.name for layer in trace.layers] == [f"module.{layer.name}" for layer in alone[rank].layers]
        assert [layer.rms for layer in trace.layers] == pytest.approx([layer.rms for layer in alone[rank].layers])
        assert trace.world_size == 2
        assert [layer.norm.synchronized for layer in trace.layers if layer.norm is not None] == [False]
    synchronized = gs.Trace.from_json(found[0][0][1])
    assert [layer.rms for layer in synchronized.layers] == pytest.approx([layer.rms for layer in alone[0].layers])
    assert "this rank's batch alone" in found[0][0][2]
    assert [layer.norm.synchronized for layer in synchronized.layers if layer.norm is not None] == [True]


def test_a_sharded_model_is_refused() -> None:
    model = network()
    model[0].weight.full_tensor = lambda: None
    with pytest.raises(gs.GainstageError, match=r"whole on this rank, got a sharded one \(0.weight\)"):
        gs.record(model, batch_of(0))


def test_without_a_process_group_nothing_is_replaced() -> None:
    model = network()
    assert stand_alone(dict(model.named_modules()), dict(model.named_parameters())) == ()
    assert all("forward" not in vars(module) for module in model.modules())
