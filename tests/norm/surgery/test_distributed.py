"""In a process group the moments are those of all ranks' data, and all ranks fail together."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from gainstage import norm
from gainstage.errors import SubjectError

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU()).double()


def data(rank: int) -> list[torch.Tensor]:
    """Ranks have different numbers of batches, of different sizes and levels."""
    generator = torch.Generator().manual_seed(rank)
    sizes = (5, 9, 3) if rank == 0 else (7,)
    return [torch.randn(size, 4, generator=generator, dtype=torch.float64) * (rank + 1) + 3 * rank for size in sizes]


def failing(rank: int) -> Any:
    yield data(0)[0]
    if rank == 1:
        raise KeyboardInterrupt("as planned")


def run_rank(rank: int, port: int, results: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        model: Any = nn.parallel.DistributedDataParallel(network())
        norm.recalibrate(model, data(rank), inplace=True)
        synchronized: Any = norm.to_sync(network()).model
        norm.recalibrate(synchronized, data(rank), inplace=True)
        state = {key: value.numpy().tobytes() for key, value in model.module.state_dict().items()}
        same = torch.allclose(synchronized[2].running_var, model.module[2].running_var, rtol=1e-12)
        failure = ""
        try:
            norm.recalibrate(network(), failing(rank))
        except (KeyboardInterrupt, SubjectError) as error:
            failure = f"{type(error).__name__}: {error}"
        results[rank] = (
            state,
            model.module[0].running_var.tolist(),
            int(model.module[0].num_batches_tracked),
            same,
            failure,
        )
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_agree_on_the_moments_of_all_their_data_and_fail_together() -> None:
    with mp.Manager() as manager:
        results = manager.dict()
        context = mp.spawn(run_rank, (30_711 + os.getpid() % 1000, results), nprocs=2, join=False)
        deadline = time.monotonic() + 120
        while not context.join(timeout=5):
            assert time.monotonic() < deadline, "a rank hangs"
        found = dict(results)
    assert found[0][0] == found[1][0]
    everything = torch.cat([*data(0), *data(1)])
    assert found[0][1] == pytest.approx(everything.var(0, correction=0).tolist(), rel=1e-12)
    assert found[0][2] == 4
    assert found[0][3]
    assert found[1][3]
    assert found[0][4].startswith("SubjectError: recalibrate: every rank must run through, got a failure on another")
    assert found[1][4] == "KeyboardInterrupt: as planned"
