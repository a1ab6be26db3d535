"""The node `WorldR1CameraNoise`: start noise that moves as the prompt's camera words, or a file of poses, ask.

It returns a NOISE, which ComfyUI's SamplerCustomAdvanced takes: an object with `seed` and `generate_noise(latent)`
(docs.comfy.org, custom-nodes/backend/datatypes; comfy_extras/nodes_custom_sampler.py). A LATENT would not do: a
sampler computes sigma * noise + (1 - sigma) * latent (class CONST in comfy/model_sampling.py), and begins at sigma 1.

Whether ComfyUI leaves the noise as it is (read in Comfy-Org/ComfyUI; commits in tests/unit/integrations): yes.
`generate_noise` gets the latent after its channels were fitted to the model; CFGGuider.inner_sample (comfy/samplers.py)
passes only a latent that is not all zeros through `process_latent_in`, and never the noise; noise_scale of a Wan
model is 1. At sigma 1 and from an empty latent the model's first input is this noise, bit for bit.

Nothing here imports ComfyUI, so that it can be tested without it.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from worldr1.camera.files import read_trajectory
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.types import Trajectory

FRAME_STRIDE = 4
"""Video frames per latent frame of Wan's VAEs, after the first."""
MAX_SEED = 2**64 - 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CameraNoise:
    """What SamplerCustomAdvanced asks for noise."""

    seed: int
    """Of the first video of the batch. SamplerCustomAdvanced reads it too."""
    num_frames: int
    """Of the video."""
    trajectory: Trajectory | None
    """The path of the prompt; None: no camera words, or `poses`."""
    poses: Path | None = None
    """A file with the path; it is read when the video's shape is known."""
    depth_unit: float = 1.0
    """Of `poses`."""
    config: NoiseConfig
    plans: PlanCache = field(default_factory=PlanCache)

    def generate_noise(self, input_latent: Mapping[str, Any]) -> Float[Tensor, "B C L h w"]:
        """Noise in the shape and type of `input_latent["samples"]`, on the CPU.

        Video i of a batch has the seed `seed` + i, or `seed` + `batch_index`[i] where the latent has one (Latent From
        Batch), so that it is the same alone as in its batch, and the same as `worldr1 noise --seed` writes.
        Raises InputError for latents of images or of another number of frames, bad files, and refused paths.
        """
        samples: Tensor = input_latent["samples"]
        if samples.is_nested or samples.ndim != 5:
            raise InputError(
                "the camera noise is for video latents [batch, channels, frames, height, width], and this latent is "
                "none: connect an empty video latent, such as EmptyHunyuanLatentVideo for Wan"
            )
        batch, channels, num_latent_frames, height, width = samples.shape
        latent_frames = (num_latent_frames - 1) * FRAME_STRIDE + 1
        if latent_frames != self.num_frames:
            raise InputError(
                f"the latent is of a video of {latent_frames} frames and the camera noise of one of {self.num_frames}: "
                "set the same number in both nodes"
            )
        trajectory = self.trajectory
        if self.poses is not None:
            trajectory = read_trajectory(
                self.poses, num_frames=self.num_frames, depth_unit=self.depth_unit, aspect=width / height
            )
        seeds = [self.seed + index for index in input_latent.get("batch_index", range(batch))]
        shape = (channels, num_latent_frames, height, width)
        return start_noise(trajectory, shape, seeds, self.config, self.plans).to(samples.dtype)


def lora_file(name: str) -> Path:
    """The file of a LoRA that is named as in ComfyUI's own loaders, or by its path."""
    folders: Any = sys.modules.get("folder_paths")  # ComfyUI's, where this runs in it
    return Path((folders and folders.get_full_path("loras", name)) or name)


class WorldR1CameraNoise:
    """The node, as ComfyUI describes one (docs.comfy.org, custom-nodes/backend/server_overview)."""

    RETURN_TYPES = ("NOISE",)
    FUNCTION = "make_noise"
    CATEGORY = "worldr1"
    DESCRIPTION = "Start noise that moves as the camera should. Connect it to the noise of SamplerCustomAdvanced."

    def __init__(self) -> None:
        # ComfyUI keeps a node's object between runs: another seed then needs no new plan. At 480p one is 10 to 50 MB.
        self._plans = PlanCache(max_mb=100)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, dict[str, Any]]]]:
        """The inputs, in the order of the widgets."""
        return {
            "required": {
                "prompt": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "The prompt of the video, the same text as for the text encoder. Its camera words "
                        "make the path, for example: Camera push in, then pan left.",
                    },
                ),
                "seed": ("INT", {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": True}),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "0: independent noise, 1: all of it moves with the camera.",
                    },
                ),
                "frames": (
                    "INT",
                    {
                        "default": 81,
                        "min": 1,
                        "max": 16385,
                        "step": FRAME_STRIDE,
                        "tooltip": "Of the video: the length of the empty latent.",
                    },
                ),
                "transport": (
                    ["canvas", "flow"],
                    {
                        "default": "canvas",
                        "tooltip": "flow: the paper's chain, which forgets what leaves the picture.",
                    },
                ),
            },
            "optional": {
                "poses": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Instead of camera words, the file of your own path, one pose per frame: .txt "
                        "(RealEstate10K, CameraCtrl) or .npz (world_from_camera [T, 4, 4] and focal_per_width).",
                    },
                ),
                "depth_unit": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 1e-4,
                        "max": 1e6,
                        "step": 0.1,
                        "round": False,
                        "tooltip": "For poses: the median depth of the first frame, in the file's own unit.",
                    },
                ),
                "lora": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "A LoRA of worldr1, as in LoraLoaderModelOnly or a path: the noise is then the one "
                        "that it was trained with, and strength and transport above do not count.",
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, poses: str | None = "", lora: str | None = "", **_inputs: Any) -> str:
        """ComfyUI runs the node again when this changes, as it does for its inputs: here, when a file was edited."""
        files = [Path((poses or "").strip()), lora_file((lora or "").strip())]
        return " ".join(str(file.stat().st_mtime_ns) for file in files if file.is_file())

    def make_noise(
        self,
        prompt: str,
        seed: int,
        strength: float,
        frames: int,
        transport: Literal["canvas", "flow"],
        poses: str = "",
        depth_unit: float = 1.0,
        lora: str = "",
    ) -> tuple[CameraNoise]:
        """The NOISE. Raises InputError (ComfyUI shows its sentence) for bad words, strengths, frames or files."""
        if frames < 1 or (frames - 1) % FRAME_STRIDE:
            nearest = max(frames - 1, 0) // FRAME_STRIDE * FRAME_STRIDE + 1
            raise InputError(f"frames must be {FRAME_STRIDE} k + 1, got {frames}: use {nearest}")
        config = NoiseConfig(strength=strength, transport=transport)
        if lora.strip():
            from worldr1.train.adapter_file import read_training  # needs safetensors, which the node itself does not

            config = read_training(lora_file(lora.strip())).noise
        file = Path(poses.strip()) if poses.strip() else None
        trajectory = None
        if file is None:
            trajectory = requested_path(parse_plan(prompt).tokens, frames)
            if trajectory is None:
                _log.warning("the prompt has no camera words, so the noise is independent and the camera free")
        return (
            CameraNoise(
                seed=seed,
                num_frames=frames,
                trajectory=trajectory,
                poses=file,
                depth_unit=depth_unit,
                config=config,
                plans=self._plans,
            ),
        )
