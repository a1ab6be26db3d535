"""The mini world's models, loaded from the weights that ship in the package (or from a folder of the same layout).

base/                      a stock diffusers WanPipeline folder
reconstructor.safetensors  the 3D model (Depth Anything 3's role)
trunk.safetensors          critic, quality and perceptual distance
judge.safetensors          a second 3D model, which no reward ever meets (may be missing)
probe.safetensors          the attribute probe, which no reward ever meets (may be missing)
index.json                 sha256 of every file, held-out metrics
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from worldr1.errors import InputError
from worldr1.mini.networks.probe import AttributeProbe, Probe, ProbeConfig
from worldr1.mini.networks.reconstructor import MiniReconstructor, Reconstruct, ReconstructorConfig
from worldr1.mini.networks.trunk import Trunk, TrunkConfig, TrunkCritic, TrunkDistance, TrunkQuality

CLIP_SIZE = (17, 64, 96)
"""Frames, height and width that the mini models were trained on."""


JUDGE_CONFIG = ReconstructorConfig(dim=128, depth=12, heads=4, stem=(48, 80))
"""The judge's network: narrower and deeper than the reward's. 5.8 MB in bfloat16."""


def mini_weights() -> Path:
    """The folder of the packaged weights."""
    return Path(str(files("worldr1.mini") / "weights"))


def mini_base(weights: Path | None = None) -> Path:
    """The mini model's pipeline folder."""
    return (weights or mini_weights()) / "base"


def _load(network: nn.Module, path: Path, *, remedy: str = "install worldr1 again or build it (worldr1 mini)") -> None:
    if not path.is_file():
        raise InputError(f"The mini model file {path} is missing; {remedy}.")
    try:
        network.load_state_dict({name: x.float() for name, x in load_file(path).items()})
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is damaged or of another version ({reason}); install worldr1 again.") from error


def load_reconstructor(device: str | torch.device = "cpu", *, weights: Path | None = None) -> Reconstruct:
    """The mini 3D model as a `Reconstructor`. bfloat16 autocast on a GPU. Raises InputError if its file is unusable."""
    network = MiniReconstructor(ReconstructorConfig())
    _load(network, (weights or mini_weights()) / "reconstructor.safetensors")
    return Reconstruct(network.to(device), autocast=torch.device(device).type == "cuda")


def load_judge(device: str | torch.device = "cpu", *, weights: Path | None = None) -> Reconstruct:
    """The judge: a 3D model of another size, seed and training set than the reward's, never used in a reward.

    Raises InputError if its file is unusable; if it is missing the sentence says how to build it.
    """
    network = MiniReconstructor(JUDGE_CONFIG)
    remedy = "build it with `worldr1 mini build judge --state DIR --out DIR` (then --weights DIR, or `mini build pack`)"
    _load(network, (weights or mini_weights()) / "judge.safetensors", remedy=remedy)
    return Reconstruct(network.to(device), autocast=torch.device(device).type == "cuda")


def load_probe(device: str | torch.device = "cpu", *, weights: Path | None = None) -> Probe:
    """The attribute probe: which of a prompt's words a clip shows; never used in a reward. bfloat16 autocast on a GPU.

    Raises InputError if its file is unusable; if it is missing the sentence says how to build it.
    """
    network = AttributeProbe(ProbeConfig())
    remedy = "build it with `worldr1 mini build probe --state DIR --out DIR` (then --weights DIR, or `mini build pack`)"
    _load(network, (weights or mini_weights()) / "probe.safetensors", remedy=remedy)
    return Probe(network.to(device), autocast=torch.device(device).type == "cuda")


def load_heads(
    device: str | torch.device = "cpu", *, weights: Path | None = None
) -> tuple[TrunkCritic, TrunkQuality, TrunkDistance]:
    """Critic, quality model and perceptual distance: three heads of one trunk. Raises InputError as above."""
    from transformers import PreTrainedTokenizerFast  # takes seconds, and scoring a video needs no text

    folder = weights or mini_weights()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(mini_base(folder) / "tokenizer")
    trunk = Trunk(TrunkConfig(vocabulary_size=len(tokenizer)))
    _load(trunk, folder / "trunk.safetensors")
    trunk.to(device)
    return TrunkCritic(trunk, tokenizer), TrunkQuality(trunk, tokenizer), TrunkDistance(trunk)


def load_distance(device: str | torch.device = "cpu", *, weights: Path | None = None) -> TrunkDistance:
    """The perceptual distance alone. Raises InputError as above."""
    path = (weights or mini_weights()) / "trunk.safetensors"
    vocabulary_size = len(load_file(path)["words.weight"]) if path.is_file() else TrunkConfig().vocabulary_size
    trunk = Trunk(TrunkConfig(vocabulary_size=vocabulary_size))
    _load(trunk, path)
    return TrunkDistance(trunk.to(device))


def mini_index(weights: Path | None = None) -> dict[str, Any]:
    """What `index.json` says: files with their sha256, and held-out metrics."""
    path = (weights or mini_weights()) / "index.json"
    if not path.is_file():
        raise InputError(f"The mini weights have no {path.name}; install worldr1 again or build them (worldr1 mini).")
    return json.loads(path.read_text(encoding="utf-8"))
