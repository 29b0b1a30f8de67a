"""Both published layouts, written small; what is missing, cut short or hostile."""

import os
import pickle

import numpy as np
import pytest
import torch

from gainstage.errors import InputError, MissingDataError
from gainstage.lab.apparatus.cifar import PIXELS, TEST, TRAIN, VARIABLE, read_cifar10
from gainstage.lab.apparatus.data import cifar10

ROWS = 6
NAMES = (*TRAIN, TEST)


def tables():
    draws = np.random.default_rng(0)
    return {
        name: (draws.integers(0, 256, (ROWS, PIXELS), np.uint8), draws.integers(0, 10, ROWS).tolist()) for name in NAMES
    }


def write_binary(folder, ending=".bin"):
    for name, (pictures, labels) in tables().items():
        rows = np.concatenate([np.array(labels, np.uint8)[:, None], pictures], axis=1)
        (folder / f"{name}{ending}").write_bytes(rows.tobytes())


def write_pickles(folder, protocol=2, order="C"):
    for name, (pictures, labels) in tables().items():
        content = {b"batch_label": name, b"data": np.asarray(pictures, order=order), b"labels": labels}
        (folder / name).write_bytes(pickle.dumps(content, protocol))


def write_as_python_2(folder):
    """The opcodes of the published files: numpy.core, byte strings, protocol 2."""
    for name, (pictures, labels) in tables().items():
        raw, shape = pictures.tobytes(), pickle.dumps(pictures.shape, 2)[2:-1]
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R("
            b"K\x01" + shape + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
            b"J\xff\xff\xff\xffK\x00tb\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
        )
        listed = pickle.dumps(labels, 2)[2:-1]
        (folder / name).write_bytes(b"\x80\x02}(U\x04data" + array + b"U\x06labels" + listed + b"u.")


WRITERS = {
    "binary": write_binary,
    "protocol 2": write_pickles,
    "protocol 3": lambda folder: write_pickles(folder, 3),
    "column by column": lambda folder: write_pickles(folder, 2, "F"),
    "python 2": write_as_python_2,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_layout_gives_the_same_standardised_pictures(tmp_path, writer):
    WRITERS[writer](tmp_path)
    found = read_cifar10(tmp_path, rows=ROWS)
    train = np.concatenate([tables()[name][0] for name in TRAIN]).reshape(-1, 3, 32, 32).astype(np.float64)
    mean, std = train.mean((0, 2, 3), keepdims=True), train.std((0, 2, 3), keepdims=True)
    test = tables()[TEST][0].reshape(-1, 3, 32, 32)
    torch.testing.assert_close(found.train_inputs, torch.tensor((train - mean) / std).float())
    torch.testing.assert_close(found.test_inputs, torch.tensor((test - mean) / std).float())
    assert found.train_targets.tolist() == [label for name in TRAIN for label in tables()[name][1]]
    assert found.test_targets.tolist() == tables()[TEST][1]


@pytest.mark.parametrize(("writer", "name"), [("binary", "cifar-10-batches-bin"), ("python 2", "cifar-10-batches-py")])
def test_the_folder_of_an_unpacked_archive_is_found(tmp_path, monkeypatch, writer, name):
    (tmp_path / name).mkdir()
    WRITERS[writer](tmp_path / name)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert len(read_cifar10(rows=ROWS).train_inputs) == 5 * ROWS


def test_without_the_variable_one_line_says_what_to_set(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(MissingDataError, match="variable GAINSTAGE_CIFAR10 must name a folder, got none") as caught:
        cifar10()
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(MissingDataError, match="got none in"):
        read_cifar10(tmp_path, rows=ROWS)
    write_binary(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(MissingDataError, match=r"got no data_batch_3\.bin in"):
        read_cifar10(tmp_path, rows=ROWS)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_binary_file_of_another_size(tmp_path, change):
    write_binary(tmp_path)
    whole = (tmp_path / "data_batch_2.bin").read_bytes()
    (tmp_path / "data_batch_2.bin").write_bytes(whole[:change] if change < 0 else whole + b"0")
    with pytest.raises(MissingDataError, match=r"data_batch_2\.bin must have 18438 bytes, got"):
        read_cifar10(tmp_path, rows=ROWS)


def test_a_pickle_that_is_cut_short(tmp_path):
    write_pickles(tmp_path)
    whole = (tmp_path / "test_batch").read_bytes()
    (tmp_path / "test_batch").write_bytes(whole[:1000])
    with pytest.raises(MissingDataError, match="test_batch must have at least"):
        read_cifar10(tmp_path, rows=ROWS)
    (tmp_path / "test_batch").write_bytes(whole[:-3])
    with pytest.raises(InputError, match="while reading it"):
        read_cifar10(tmp_path, rows=ROWS)


class Hostile:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "posix.system"), (eval, "__builtin__.eval"), (np.load, "numpy.load")]
)
def test_a_hostile_pickle_runs_nothing(tmp_path, function, name):
    write_pickles(tmp_path)
    victim = tmp_path / "victim"
    content = {b"data": b"0" * ROWS * PIXELS, b"labels": Hostile(function, f"touch {victim}")}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=f"plain arrays, got the name {name} in it; nothing was run") as caught:
        read_cifar10(tmp_path, rows=ROWS)
    assert "\n" not in str(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize("known", [b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n"])
@pytest.mark.parametrize("state", [b"}U\x05stateK\x01s", b"N}U\x05stateK\x01s\x86"])
def test_a_pickle_cannot_change_what_answers_it(tmp_path, known, state):
    write_pickles(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02" + known + state + b"b." + b"0" * ROWS * PIXELS)
    with pytest.raises(InputError, match="a TypeError while reading it"):
        read_cifar10(tmp_path, rows=ROWS)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([b"0" * ROWS * PIXELS], "got a list"),
        ({b"data": b"0" * ROWS * PIXELS, b"labels": [0] * ROWS}, "got data as"),
        ({b"data": np.zeros((ROWS, PIXELS)), b"labels": [0] * ROWS}, "no array of bytes"),
        ({b"data": np.zeros((PIXELS, ROWS), np.uint8), b"labels": [0] * ROWS}, "no array of bytes"),
        ({b"data": np.zeros((ROWS, PIXELS), np.uint8), b"labels": [0]}, "no list of 6"),
        ({b"data": np.zeros((ROWS, PIXELS), np.uint8), b"labels": [10] * ROWS}, "not one of 0 to 9"),
        ({b"data": np.zeros((ROWS, PIXELS), np.uint8), b"labels": ["1"] * ROWS}, "not one of 0 to 9"),
    ],
)
def test_a_pickle_of_something_else(tmp_path, content, match):
    write_pickles(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=match):
        read_cifar10(tmp_path, rows=ROWS)
