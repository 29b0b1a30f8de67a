"""``torchvision:``, ``timm:`` and ``transformers:`` targets, and what is said when they cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gainstage as gs
from gainstage.cli import main, targets
from gainstage.errors import TargetError
from gainstage.integrations import packages
from zoo.packages import package

needs_torchvision = pytest.mark.skipif(package("torchvision") is None, reason="torchvision cannot be imported")
needs_timm = pytest.mark.skipif(package("timm") is None, reason="timm cannot be imported")
needs_transformers = pytest.mark.skipif(package("transformers") is None, reason="transformers cannot be imported")


def batch_of(subject: gs.Subject) -> Any:
    return subject.batches.first()


@needs_torchvision
@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("resnet18", (16, 3, 224, 224), 1000), ("inception_v3", (16, 3, 299, 299), 1000)],
)
def test_torchvision_has_the_sizes_of_its_published_weights(name: str, shape: tuple[int, ...], classes: int) -> None:
    subject = targets.load(f"torchvision:{name}")
    images, labels = batch_of(subject)
    assert tuple(images.shape) == shape
    assert labels.shape == shape[:1]
    assert subject.model.fc.out_features == classes
    assert subject.name == f"torchvision:{name}"


@needs_torchvision
@pytest.mark.parametrize("name", ["squeezenet1_1", "inception_v3", "lraspp_mobilenet_v3_large", "r3d_18", "raft_small"])
def test_torchvision_of_every_kind_is_recorded(name: str) -> None:
    shape = {"inception_v3": None, "raft_small": None, "r3d_18": "3,4,32,32"}.get(name, "3,64,64")
    subject = targets.load(f"torchvision:{name}", shape, classes=5, batch_size=2)
    assert torch.isfinite(torch.tensor(gs.record(subject).loss))


@needs_torchvision
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"])
def test_detectors_get_objects_inside_their_images(name: str) -> None:
    # Their operations are compiled, so that they cannot run everywhere; what they are fed can be looked at.
    batch = batch_of(targets.load(f"torchvision:{name}", "3,64,80", batch_size=1))
    (image,), (objects,) = batch["images"], batch["targets"]
    assert tuple(image.shape) == (3, 64, 80)
    assert objects["boxes"].tolist() == [[20.0, 16.0, 60.0, 48.0]]
    assert objects["masks"].sum() == 40 * 32
    assert objects["keypoints"].shape == (1, 17, 3)
    assert objects["labels"].item() >= 1


@needs_timm
def test_timm_has_the_sizes_of_its_configuration_or_those_asked_for() -> None:
    images, labels = batch_of(targets.load("timm:vit_tiny_patch16_224"))
    assert (tuple(images.shape), tuple(labels.shape)) == ((16, 3, 224, 224), (16,))
    subject = targets.load("timm:resnet18", "1,32,32", classes=7, batch_size=3)
    images, labels = batch_of(subject)
    assert tuple(images.shape) == (3, 1, 32, 32)
    assert labels.max() < 7
    assert torch.isfinite(torch.tensor(gs.record(subject).loss))


@needs_timm
def test_timm_without_a_classifier_has_no_targets() -> None:
    assert isinstance(batch_of(targets.load("timm:vit_tiny_patch16_224", classes=0, batch_size=1)), torch.Tensor)


@needs_timm
def test_a_target_is_the_same_network_each_time_and_leaves_the_generators_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again = (targets.load("timm:resnet10t", "3,32,32", batch_size=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.model.conv1[0].weight, again.model.conv1[0].weight)
    assert torch.equal(batch_of(first)[0], batch_of(again)[0])


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 60}
VISION = {"model_type": "vit", "image_size": 32, "patch_size": 8, **{k: SMALL[k] for k in list(SMALL)[:4]}}
WHISPER = {
    "model_type": "whisper", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 60, "num_mel_bins": 8,
    "max_source_positions": 16, "max_target_positions": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
CONFIGURATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "BertModel": ({"model_type": "bert", **SMALL}, "BertForMaskedLM"),
    "BertForSequenceClassification": ({"model_type": "bert", **SMALL, "num_labels": 1}, ""),
    "BertForTokenClassification": ({"model_type": "bert", **SMALL}, ""),
    "BertForQuestionAnswering": ({"model_type": "bert", **SMALL}, ""),
    "BertForMultipleChoice": ({"model_type": "bert", **SMALL}, ""),
    "BertForNextSentencePrediction": ({"model_type": "bert", **SMALL}, ""),
    "LlamaForSequenceClassification": (
        {"model_type": "llama", **SMALL, "problem_type": "multi_label_classification"}, "",
    ),
    "ViTForImageClassification": (VISION, ""),
    "WhisperForConditionalGeneration": (WHISPER, ""),
    "": ({"model_type": "llama", **SMALL}, "LlamaForCausalLM"),
}  # fmt: skip


def written(folder: Path, content: Any) -> str:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return f"transformers:{path}"


@needs_transformers
@pytest.mark.parametrize("architecture", CONFIGURATIONS)
def test_transformers_takes_labels_of_its_kind(architecture: str, tmp_path: Path) -> None:
    content, built = CONFIGURATIONS[architecture]
    content = {**content, "architectures": [architecture]} if architecture else content
    subject = targets.load(written(tmp_path, content))
    assert type(subject.model).__name__ == (built or architecture)
    trace = gs.record(subject)
    assert torch.isfinite(torch.tensor(trace.loss))
    assert trace.loss_record is not None
    assert trace.loss_record.name == "model"


@needs_transformers
def test_transformers_takes_length_classes_and_samples(tmp_path: Path) -> None:
    content = {"model_type": "bert", **SMALL, "architectures": ["BertForSequenceClassification"], "pad_token_id": 7}
    batch = batch_of(targets.load(written(tmp_path, content), "12", classes=5, batch_size=3))
    assert tuple(batch["input_ids"].shape) == (3, 12)
    assert not (batch["input_ids"] == 7).any()
    assert batch["labels"].shape == (3,)
    folder = targets.load(f"transformers:{tmp_path}")  # a folder that save_pretrained wrote
    assert tuple(batch_of(folder)["input_ids"].shape) == (8, 32)


def fails(target: str, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    status = main(["check", target, *options])
    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    return captured.err


@needs_timm
@needs_torchvision
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("timm:resnet81",), "Did you mean 'resnet18'"),
        (("timm:zzzzzzzzzz",), "It has "),
        (("timm:hf-hub:someone/model",), "an architecture of timm itself"),
        (("timm:",), "timm: must be followed by a model"),
        (("timm:vit_tiny_patch16_224", "--input-shape", "3,32,32", "--batch-size", "2"), "must accept the batch"),
        (("torchvision:resnet19",), "Did you mean 'resnet18'"),
        (("torchvision:resnet18", "--input-shape", "0,3"), "must be whole numbers"),
    ],
)
def test_bad_names_are_one_line(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(*arguments[:1], capsys, *arguments[1:])


@needs_transformers
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a configuration file that exists"),
        ("{", "must be a readable JSON file"),
        ("[1]", "without a 'model_type'"),
        ({"model_type": "brt"}, "Did you mean 'b"),
        ({"model_type": "bert", "architectures": ["BertForNothing"]}, "'architectures' must name a model"),
        ({"model_type": "bert", **SMALL, "num_attention_heads": 3}, "must build from its configuration"),
        ({"model_type": "llama", "num_hidden_layers": 32}, "at most 2e+09 parameters"),
        ({"model_type": "bert", **SMALL, "architectures": ["TrainingArguments"]}, "'architectures' must name a model"),
    ],
)
def test_bad_configurations_are_one_line(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "transformers:nowhere.json" if content is None else written(tmp_path, content)
    assert message in fails(target, capsys)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(packages.importlib, "import_module", absent)
    with pytest.raises(TargetError, match=r"timm must be installed for timm: targets.* pip install timm"):
        packages.optional("timm")


def test_a_broken_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist.\\nAnd more.')")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, module)
    said = fails("timm:resnet18", capsys)
    assert "timm must be importable" in said
    assert "got RuntimeError: operator torchvision::nms does not exist. Reinstall" in said
    (tmp_path / "timm.py").write_text("import no_such_module_of_timm")
    assert "No module named 'no_such_module_of_timm'" in fails("timm:resnet18", capsys)


def test_of_a_chain_of_imports_the_innermost_is_told() -> None:
    try:
        try:
            raise RuntimeError("operator torchvision::nms does not exist.\n")
        except RuntimeError as inner:
            raise ModuleNotFoundError("Could not import module 'GPT2LMHeadModel'. Are this object's ...") from inner
    except ModuleNotFoundError as outer:
        caught = outer
    assert packages.first_line(caught) == "RuntimeError: operator torchvision::nms does not exist"

    def build() -> None:
        raise caught

    with pytest.raises(TargetError, match=r"transformers must be importable .* got RuntimeError: operator torchvision"):
        packages.built("transformers:x.json", build)


@needs_timm
def test_in_a_process_of_its_own_as_it_is_used() -> None:
    # Here torchvision was made importable by the zoo; there it is by the command itself.
    command = [sys.executable, "-m", "gainstage", "check", "timm:resnet10t", "--input-shape", "3,64,64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no problem found" in done.stdout.lower()
