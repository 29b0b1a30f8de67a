"""transformers: tiny configurations of encoders, decoders, both, experts, state spaces, speech, vision, CLIP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from zoo.case import Case, Parts, Size
from zoo.packages import package

VOCABULARY = 120
Batch = dict[str, torch.Tensor]
Inputs = Callable[[Size], Batch]


def _ids(size: Size) -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (size.batch, size.length))


def _causal(size: Size) -> Batch:
    ids = _ids(size)
    return {"input_ids": ids, "labels": ids}


def _classes(size: Size) -> Batch:
    return {"input_ids": _ids(size), "labels": torch.randint(2, (size.batch,))}


def _pixels(size: Size) -> Batch:
    return {"pixel_values": torch.randn(size.batch, 3, 32, 32), "labels": torch.randint(2, (size.batch,))}


def _speech(size: Size) -> Batch:
    return {"input_values": torch.randn(size.batch, 3200), "labels": torch.randint(5, VOCABULARY, (size.batch, 4))}


def _mel(size: Size) -> Batch:
    return {"input_features": torch.randn(size.batch, 16, 64), "labels": _ids(size)}


def _pairs(size: Size) -> Batch:
    return {"input_ids": _ids(size), "pixel_values": torch.randn(size.batch, 3, 32, 32), "return_loss": True}


def _usual(size: Size) -> dict[str, Any]:
    return {
        "hidden_size": size.width, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 2 * size.width, "vocab_size": VOCABULARY, "pad_token_id": 0,
    }  # fmt: skip


def _grouped(size: Size) -> dict[str, Any]:
    return {**_usual(size), "num_key_value_heads": 2}


def _experts(size: Size) -> dict[str, Any]:
    return {**_grouped(size), "num_local_experts": 4}


def _gpt(size: Size) -> dict[str, Any]:
    return {"n_embd": size.width, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY}


def _both(size: Size) -> dict[str, Any]:
    return {
        "d_model": size.width, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 2 * size.width, "decoder_ffn_dim": 2 * size.width,
        "vocab_size": VOCABULARY, "pad_token_id": 0, "decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip


def _t5(size: Size) -> dict[str, Any]:
    return {
        "d_model": size.width, "d_ff": 2 * size.width, "num_layers": 2, "num_heads": 4, "d_kv": size.width // 4,
        "vocab_size": VOCABULARY, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu",
    }  # fmt: skip


def _mamba(size: Size) -> dict[str, Any]:
    return {"hidden_size": size.width, "num_hidden_layers": 2, "vocab_size": VOCABULARY, "state_size": 8}


def _vision(size: Size) -> dict[str, Any]:
    usual = _usual(size)
    del usual["vocab_size"], usual["pad_token_id"]
    return {**usual, "image_size": 32, "patch_size": 8, "num_labels": 2}


def _clip(size: Size) -> dict[str, Any]:
    text = {**_usual(size), "max_position_embeddings": 128, "projection_dim": 16, "eos_token_id": 2, "bos_token_id": 1}
    vision = {**_vision(size), "projection_dim": 16}
    return {"text_config": text, "vision_config": vision, "projection_dim": 16}


def _wav2vec(size: Size) -> dict[str, Any]:
    return {
        **_usual(size), "conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 8),
        "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
        "mask_time_prob": 0.0,
    }  # fmt: skip


def _whisper(size: Size) -> dict[str, Any]:
    return {**_both(size), "num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 128}


TABLE: dict[str, tuple[str, str, Callable[[Size], dict[str, Any]], Inputs]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", _usual, _classes),
    "bert-mlm": ("BertForMaskedLM", "BertConfig", _usual, _causal),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", _usual, _classes),
    "electra": ("ElectraForSequenceClassification", "ElectraConfig", _usual, _classes),
    "albert": ("AlbertForSequenceClassification", "AlbertConfig", _usual, _classes),
    "deberta-v2": ("DebertaV2ForSequenceClassification", "DebertaV2Config", _usual, _classes),
    "distilbert": (
        "DistilBertForSequenceClassification", "DistilBertConfig",
        lambda size: {"dim": size.width, "n_layers": 2, "n_heads": 4, "hidden_dim": 2 * size.width,
                      "vocab_size": VOCABULARY}, _classes,
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _gpt, _causal),
    "gpt-neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _usual, _causal),
    "opt": (
        "OPTForCausalLM", "OPTConfig",
        lambda size: {"hidden_size": size.width, "num_hidden_layers": 2, "num_attention_heads": 4,
                      "ffn_dim": 2 * size.width, "vocab_size": VOCABULARY, "word_embed_proj_dim": size.width}, _causal,
    ),
    "bloom": (
        "BloomForCausalLM", "BloomConfig",
        lambda size: {"hidden_size": size.width, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY}, _causal,
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _grouped, _causal),
    "mistral": ("MistralForCausalLM", "MistralConfig", _grouped, _causal),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _grouped, _causal),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", lambda size: {**_grouped(size), "head_dim": size.width // 4}, _causal),
    "phi": ("PhiForCausalLM", "PhiConfig", _usual, _causal),
    "falcon": ("FalconForCausalLM", "FalconConfig", _usual, _causal),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", _experts, _causal),
    "t5": ("T5ForConditionalGeneration", "T5Config", _t5, _causal),
    "bart": ("BartForConditionalGeneration", "BartConfig", _both, _causal),
    "mamba": ("MambaForCausalLM", "MambaConfig", _mamba, _causal),
    "wav2vec2": ("Wav2Vec2ForCTC", "Wav2Vec2Config", _wav2vec, _speech),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", _whisper, _mel),
    "vit": ("ViTForImageClassification", "ViTConfig", _vision, _pixels),
    "clip": ("CLIPModel", "CLIPConfig", _clip, _pairs),
}  # fmt: skip


def cases() -> list[Case]:
    transformers = package("transformers")
    if transformers is None:
        return []
    transformers.logging.set_verbosity_error()
    return [Case(f"transformers:{name}", partial(_built, transformers, *row)) for name, row in TABLE.items()]


def _built(
    transformers: Any, model: str, config: str, options: Callable[[Size], dict[str, Any]], inputs: Inputs, size: Size
) -> Parts:
    built = getattr(transformers, model)(getattr(transformers, config)(**options(size)))
    return Parts(built, inputs(size))
