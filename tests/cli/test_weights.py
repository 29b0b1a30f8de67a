"""``--weights``: a state dict from a file into the model of a TARGET, whole or not at all."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from gainstage.cli import targets
from gainstage.cli.weights import load_weights_
from gainstage.errors import InputError

Outcome = tuple[int, str, str]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm, self.readout = nn.Embedding(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 5, bias=False)
        self.readout.weight = self.embedding.weight


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(first=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), last=nn.Linear(3, 2)))


def same(left: nn.Module, right: nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def as_safetensors(source: nn.Module, path: Path) -> Path:
    save_model(source, str(path.with_suffix(".safetensors")))
    return path.with_suffix(".safetensors")


def as_pickle(source: nn.Module, path: Path) -> Path:
    torch.save(source.state_dict(), path)
    return path


def as_checkpoint(source: nn.Module, path: Path) -> Path:
    state = {f"module.{key}": value for key, value in source.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, path)
    return path


def without_counters(source: nn.Module, path: Path) -> Path:
    torch.save({k: v for k, v in source.state_dict().items() if "num_batches" not in k}, path)
    return path


@pytest.mark.parametrize("save", [as_safetensors, as_pickle, as_checkpoint, without_counters])
def test_loads_what_was_saved(save: Callable[[nn.Module, Path], Path], tmp_path: Path) -> None:
    source, target = model(1), model(2)
    optimizer = torch.optim.SGD(target.parameters())
    load_weights_(target, save(source, tmp_path / "weights.pt"))
    assert same(source, target)
    assert optimizer.param_groups[0]["params"][0] is target.first.weight


def test_tied_weights_may_be_stored_once(tmp_path: Path) -> None:
    source, target = Tied(), Tied()
    path = as_safetensors(source, tmp_path / "tied")
    load_weights_(target, path)
    assert torch.equal(target.readout.weight, source.embedding.weight)
    assert target.readout.weight is target.embedding.weight


def stored(tmp_path: Path, content: Any) -> Path:
    torch.save(content, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def changed(**changes: Any) -> dict[str, Any]:
    state = {**model().state_dict(), **{name.replace("_", ".", 1): value for name, value in changes.items()}}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(last_bias=None), r"got 1 missing key \('last.bias'\)\. Nothing was loaded"),
        (changed(last_bias=None, lsat_bias=torch.ones(2)), r"1 unexpected key \('lsat.bias' for 'last.bias'\?\)"),
        (changed(last_weight=torch.ones(7, 3)), r"1 other shape \('last.weight' \(7, 3\) instead of \(2, 3\)\)"),
        (nn.Linear(4, 3).state_dict(), r"8 missing keys \('first.weight', .*, \.\.\.\); 2 unexpected keys"),
        ({"epoch": 3}, "must hold a state dict, got dict without tensors"),
        (torch.ones(3), "must hold a state dict, got Tensor"),
        (os.getcwd, "weights_only=True, got UnpicklingError"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_loaded(content: Any, message: str, tmp_path: Path) -> None:
    target = model(2)
    with pytest.raises(InputError, match=message):
        load_weights_(target, stored(tmp_path, content))
    assert same(target, model(2))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the file must exist, got 'nowhere\.pt'"):
        load_weights_(model(), Path("nowhere.pt"))
    (tmp_path / "broken.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(InputError, match=r"broken.safetensors' must be a .safetensors file or a state dict"):
        load_weights_(model(), tmp_path / "broken.safetensors")


def test_check_judges_the_loaded_weights(run: Callable[..., Outcome], factories: str, tmp_path: Path) -> None:
    target = f"{factories}:healthy"
    state = targets.load(target).model.state_dict()
    path = tmp_path / "zero.safetensors"
    save_file({key: torch.zeros_like(value) for key, value in state.items()}, path)

    assert run("check", target)[0] == 0
    status, out, _ = run("check", target, "--weights", str(path))
    assert status == 1
    assert "INI001" in out
    save_file({}, path)
    status, _, err = run("check", target, "--weights", str(path))
    assert status == 2
    assert err.count("\n") == 1
