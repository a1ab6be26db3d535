"""Put the trained parts together into the folder that ships, and take them apart (`worldr1 mini build pack|unpack`)."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import WanPipeline
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.mini.networks.base import new_scheduler, new_text_encoder, new_transformer, new_vae
from worldr1.types import CONVENTIONS_VERSION

PARTS = ("vae", "base", "reconstructor", "trunk")
"""Without these the mini world does not run."""
OPTIONAL_PARTS = ("judge", "probe")
"""Only measuring needs them: weights without them are whole."""
MAX_FILE_MB, MAX_TOTAL_MB = 16, 45
"""Of all files: 28 MB run and train the mini world; the rest is for the judges, which nobody may swap for others
between a training and its measurement, so they ship beside what they judge."""


def pack(parts: Path, weights: Path) -> dict[str, float]:
    """Assemble `weights` from `parts` (PART.safetensors, PART.metrics.json, tokenizer/).

    An optional part that is not in `parts` is not in `weights` afterwards either, nor is an adapter: ship a run's next.
    Returns {"megabytes": total}. Raises InputError for a missing part or more than the shipped size allows.
    """
    missing = [name for name in (*(f"{p}.safetensors" for p in PARTS), "tokenizer") if not (parts / name).exists()]
    if missing:
        raise InputError(f"{parts} lacks {missing[0]}; build that part first")
    for folder in ("base", "adapter"):  # an older adapter belongs to another base
        shutil.rmtree(weights / folder, ignore_errors=True)
    weights.mkdir(parents=True, exist_ok=True)
    new_pipeline(parts).save_pretrained(weights / "base")
    for part in ("reconstructor", "trunk"):
        shutil.copyfile(parts / f"{part}.safetensors", weights / f"{part}.safetensors")
    for part in OPTIONAL_PARTS:
        (weights / f"{part}.safetensors").unlink(missing_ok=True)  # an older one belongs to other weights
        if (parts / f"{part}.safetensors").exists():
            shutil.copyfile(parts / f"{part}.safetensors", weights / f"{part}.safetensors")
    metrics = {
        part: json.loads((parts / f"{part}.metrics.json").read_text())
        for part in WHAT
        if (parts / f"{part}.metrics.json").exists()
        and (part not in OPTIONAL_PARTS or (parts / f"{part}.safetensors").exists())
    }
    return write_index(weights, metrics)


def write_index(weights: Path, metrics: dict[str, dict[str, float]]) -> dict[str, float]:
    """Write index.json and the model card for the files in `weights`.

    Returns {"megabytes": total}. Raises InputError for more than the shipped size allows.
    """
    files = {path.relative_to(weights).as_posix(): path for path in sorted(weights.rglob("*.safetensors"))}
    sizes = {name: path.stat().st_size / 1e6 for name, path in files.items()}
    if max(sizes.values()) > MAX_FILE_MB or sum(sizes.values()) > MAX_TOTAL_MB:
        raise InputError(
            f"the weights are too large to ship: {sizes} MB, at most {MAX_FILE_MB} each, {MAX_TOTAL_MB} all"
        )
    index = {
        "conventions_version": CONVENTIONS_VERSION,
        "sha256": {name: file_sha256(path) for name, path in files.items()},
        "metrics": metrics,
    }
    (weights / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    (weights / "README.md").write_text(_model_card(index["sha256"], sizes, metrics))
    return {"megabytes": round(sum(sizes.values()), 2)}


WHAT = {
    "vae": "AutoencoderKLWan: x8 in space, x4 in time, 48 channels",
    "base": "WanTransformer3DModel and UMT5EncoderModel: text to latents",
    "reconstructor": "3D model (Depth Anything 3's role): video to depth, cameras, confidence",
    "trunk": "critic, sharpness and perceptual distance (the roles of Qwen3-VL, HPSv3 and LPIPS)",
    "presence": "the trunk's branch that looks for the solids that a prompt names (a part of the quality score)",
    "judge": "a second 3D model of another size, seed and training set, in no reward: it judges what training did",
    "probe": "reads the prompt's words off a video, in no reward: it judges what training did",
}


def _model_card(hashes: dict[str, str], sizes: dict[str, float], metrics: dict[str, dict[str, float]]) -> str:
    """What the files are, what they were trained on, how good they are on held-out clips."""
    lines = [
        "# The mini world's models",
        "",
        "Trained by `worldr1 mini build` on rendered scenes of `worldr1.mini` (docs/conventions.md section 5); nothing",
        "else was seen. bfloat16 safetensors, Apache-2.0. They know clips of 17 frames of 64 x 96 pixels of it;",
        "on anything else their numbers mean little. Metrics are on held-out rendered clips of another seed.",
        "",
        "| part | what | metric | value |",
        "|---|---|---|---|",
    ]
    for part, what in WHAT.items():
        found = metrics.get(part)
        if not found and part in OPTIONAL_PARTS:
            continue
        if not found:
            lines.append(f"| {part} | {what} | **not trained** | random weights: its scores mean nothing |")
        for name, value in (found or {}).items():
            lines.append(f"| {part} | {what} | {name} | {value:.4g} |")
            part, what = "", ""
    if any(name.startswith("adapter/") for name in hashes):
        lines += [
            "",
            "`adapter/` is a LoRA on the base model; its run's recipe and evaluations lie beside it. Rounded to",
        ]
        lines.append("bfloat16 after those were made (docs/results.md).")
    lines += ["", "| file | MB | sha256 |", "|---|---|---|"]
    lines += [f"| {name} | {sizes[name]:.2f} | `{digest}` |" for name, digest in hashes.items()]
    return "\n".join(lines) + "\n"


def unpack(weights: Path, parts: Path) -> None:
    """The reverse of `pack`: PART.safetensors and tokenizer/ of shipped weights, to train parts further or anew."""
    parts.mkdir(parents=True, exist_ok=True)
    shutil.copytree(weights / "base" / "tokenizer", parts / "tokenizer", dirs_exist_ok=True)
    for part in ("reconstructor", "trunk", *OPTIONAL_PARTS):
        if (weights / f"{part}.safetensors").exists():
            shutil.copyfile(weights / f"{part}.safetensors", parts / f"{part}.safetensors")
    vae = load_file(weights / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    statistics = json.loads((weights / "base" / "vae" / "config.json").read_text())
    vae |= {name: torch.tensor(statistics[name]) for name in ("latents_mean", "latents_std")}
    save_file(vae, parts / "vae.safetensors")
    base = {}
    for name, file in (("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")):
        tensors = load_file(weights / "base" / name / f"{file}.safetensors")
        base |= {f"{name}.{key}": value for key, value in tensors.items()}
    save_file(base, parts / "base.safetensors")


def new_pipeline(parts: Path) -> WanPipeline:
    """The pipeline of the vae, base and tokenizer in `parts`; `save_pretrained` makes a folder that `--model` takes."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(parts / "tokenizer")
    vae_weights = load_file(parts / "vae.safetensors")
    mean, std = (vae_weights.pop(name).float().tolist() for name in ("latents_mean", "latents_std"))
    parts_by_name: dict[str, Any] = {
        "vae": new_vae(),
        "transformer": new_transformer(),
        "text_encoder": new_text_encoder(len(tokenizer)),
    }
    vae = parts_by_name["vae"]
    vae.register_to_config(latents_mean=mean, latents_std=std)
    vae.load_state_dict(vae_weights)
    base = load_file(parts / "base.safetensors")
    for name in ("transformer", "text_encoder"):
        parts_by_name[name].load_state_dict(
            {k.removeprefix(f"{name}."): v for k, v in base.items() if k.startswith(f"{name}.")}
        )
    halved = {name: module.to(torch.bfloat16) for name, module in parts_by_name.items()}
    return WanPipeline(tokenizer=tokenizer, scheduler=new_scheduler(), **halved)
