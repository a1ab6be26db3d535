"""HPSv3, HPSv2 and LPIPS in miniature, in the layouts that are published: files for the loaders."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import quality_reference as reference
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, Qwen2VLConfig

from worldr1.backends import hpsv2, hpsv3, hpsv3_prompt, lpips

# what has no size stays as published, and is compared with the packages too
QWEN: Mapping[str, Any] = {
    "text_config": {
        **hpsv3.QWEN2_VL_7B["text_config"],
        **reference.HPSV3_TEXT,
        "rope_parameters": {
            **hpsv3.QWEN2_VL_7B["text_config"]["rope_parameters"],
            "mrope_section": reference.HPSV3_SECTIONS,
        },
        "bos_token_id": 256,
        "eos_token_id": 256,
    },
    "vision_config": {**hpsv3.QWEN2_VL_7B["vision_config"], **reference.HPSV3_VISION},
    "image_token_id": 261,
    "vision_start_token_id": 259,
    "vision_end_token_id": 260,
    "tie_word_embeddings": False,
}
_TEXT, _VISION = reference.HPSV2["text_cfg"], reference.HPSV2["vision_cfg"]
CLIP: Mapping[str, Any] = {
    "text_config": {
        **hpsv2.CLIP_VIT_H_14["text_config"],
        "vocab_size": _TEXT["vocab_size"],
        "hidden_size": _TEXT["width"],
        "intermediate_size": 4 * _TEXT["width"],
        "num_hidden_layers": _TEXT["layers"],
        "num_attention_heads": _TEXT["heads"],
        "bos_token_id": 512,
        "eos_token_id": 513,
    },
    "vision_config": {
        **hpsv2.CLIP_VIT_H_14["vision_config"],
        "hidden_size": _VISION["width"],
        "intermediate_size": 4 * _VISION["width"],
        "num_hidden_layers": _VISION["layers"],
        "num_attention_heads": _VISION["width"] // _VISION["head_width"],
    },
    "projection_dim": reference.HPSV2["embed_dim"],
}


def frames(size: tuple[int, int], count: int = 3, seed: int = 0) -> Float[Tensor, "B 3 H W"]:
    """The reference's pictures as the rewards have them."""
    return torch.from_numpy(reference.images(*size, count=count, seed=seed)).movedim(-1, 1) / 255


def hpsv3_tensors() -> dict[str, Tensor]:
    """Under the published names, with the language head that is not used."""
    shapes = {name: tuple(x.shape) for name, x in hpsv3.RewardNetwork(Qwen2VLConfig(**QWEN)).state_dict().items()}
    ours = (("backbone.language_model.", "model."), ("backbone.visual.", "visual."), ("head.", "rm_head."))
    renamed = {
        next(new + name.removeprefix(old) for old, new in ours if name.startswith(old)): shape
        for name, shape in shapes.items()
    }
    renamed["lm_head.weight"] = (263, 64)
    return _tensors(renamed)


def write_hpsv3(folder: Path) -> hpsv3.Hpsv3Config:
    """Weights and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hpsv3_tensors(), folder / hpsv3.FILE)
    reference.write_hpsv3_tokenizer(folder / "tokenizer")
    return hpsv3.Hpsv3Config(weights=str(folder), tokenizer=str(folder / "tokenizer"), dtype="float32", batch=2)


def install_template(monkeypatch: pytest.MonkeyPatch, site: Path, sha256: str | None = None) -> Path:
    """As if the package hpsv3 were installed in `site`, with the reference's instruction. Returns its source file."""
    source = site / hpsv3_prompt.TEMPLATE_FILE
    source.parent.mkdir(parents=True)
    lines = [
        f"{name} = {text!r}" for name, text in zip(hpsv3_prompt.TEMPLATE_PARTS, reference.HPSV3_TEMPLATE, strict=True)
    ]
    source.write_text("\n".join(["import a_module_that_nobody_has", *lines, "print(1 / 0)"]))
    (site / "hpsv3-1.0.0.dist-info").mkdir()
    (site / "hpsv3-1.0.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: hpsv3\nVersion: 1.0.0\n")
    monkeypatch.syspath_prepend(str(site))
    whole = "".join(reference.HPSV3_TEMPLATE)
    monkeypatch.setattr(hpsv3_prompt, "TEMPLATE_SHA256", sha256 or hashlib.sha256(whole.encode()).hexdigest())
    return source


def hpsv2_tensors() -> dict[str, Tensor]:
    """Under open_clip's names."""
    text, vision, width = _TEXT["width"], _VISION["width"], reference.HPSV2["embed_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (77, text),
        "text_projection": (text, width),
        "logit_scale": (),
        "visual.class_embedding": (vision,),
        "visual.positional_embedding": (257, vision),
        "visual.proj": (vision, width),
        "visual.conv1.weight": (vision, 3, 14, 14),
        "token_embedding.weight": (_TEXT["vocab_size"], text),
    }
    for name, size in (("visual.ln_pre", vision), ("visual.ln_post", vision), ("ln_final", text)):
        shapes |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    for tower, size, layers in (("visual.", vision, _VISION["layers"]), ("", text, _TEXT["layers"])):
        for layer in range(layers):
            block = f"{tower}transformer.resblocks.{layer}"
            shapes |= {f"{block}.attn.in_proj_weight": (3 * size, size), f"{block}.attn.in_proj_bias": (3 * size,)}
            linear = {"attn.out_proj": (size, size), "mlp.c_fc": (4 * size, size), "mlp.c_proj": (size, 4 * size)}
            for inside, shape in linear.items():
                shapes |= {f"{block}.{inside}.weight": shape, f"{block}.{inside}.bias": shape[:1]}
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}.{norm}.weight": (size,), f"{block}.{norm}.bias": (size,)}
    return _tensors(shapes)


def write_hpsv2(folder: Path) -> hpsv2.Hpsv2Config:
    """Weights, as a training run leaves them, and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 3, "name": "small", "state_dict": hpsv2_tensors()}, folder / hpsv2.FILE)
    reference.write_clip_tokenizer(folder / "tokenizer")
    return hpsv2.Hpsv2Config(weights=str(folder), tokenizer=str(folder / "tokenizer"), dtype="float32", batch=2)


def lpips_tensors(net: lpips.NetName) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trunk under torchvision's names, with a classifier, and heads under those of the package lpips."""
    network = lpips.LpipsNetwork(net)
    trunk = {f"features.{name}": tuple(x.shape) for name, x in network.features.state_dict().items()}
    heads = {f"lin{i}.model.1.weight": (1, count, 1, 1) for i, count in enumerate(lpips.NETS[net].channels)}
    return _tensors(trunk) | {"classifier.6.weight": torch.zeros(10, 4)}, _tensors(heads)


def write_lpips(folder: Path, net: lpips.NetName) -> lpips.LpipsConfig:
    """The trunk as files of 2017 are, the heads as newer ones."""
    folder.mkdir(parents=True, exist_ok=True)
    trunk, heads = lpips_tensors(net)
    torch.save(trunk, folder / "trunk.pth", _use_new_zipfile_serialization=False)
    torch.save(heads, folder / "heads.pth")
    return lpips.LpipsConfig(net=net, trunk=str(folder / "trunk.pth"), heads=str(folder / "heads.pth"), batch=2)


def clip_parameters() -> int:
    """Of the small CLIP, by transformers."""
    return sum(x.numel() for x in CLIPModel(CLIPConfig(**CLIP)).parameters())


def _tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(x) for name, x in reference.weights(shapes).items()}
