"""Camera control in stock diffusers, by the start noise alone. Nothing is trained or patched.

    python examples/camera_noise_diffusers.py OUT.mp4 "Camera push in, then pan left. A red ball on a wooden floor."
    python examples/camera_noise_diffusers.py OUT.mp4 PROMPT MODEL FRAMES HEIGHT WIDTH [--lora FILE]

MODEL is a Wan text-to-video pipeline: a folder or a name on the Hugging Face hub. The model reads the whole prompt,
camera words included, as World-R1 does; a prompt without them gets independent noise. `worldr1 camera --prompt ...`
shows which words are understood. A LoRA that worldr1 trained or exported, and a folder that it merged one into, bring
the noise, size, steps, shift and guidance of the training.

The noise can also come from a file: `worldr1 noise --prompt ... --out noise.safetensors` writes the same numbers
(other sizes: --frames, --height, --width, and --channels 48 --spatial-stride 16 for Wan 2.2 TI2V 5B), and then
    latents = safetensors.torch.load_file("noise.safetensors")["noise"][None]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler, WanPipeline

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.train.adapter_file import read_info, read_merged_info
from worldr1.video_io import write_mp4

parser = argparse.ArgumentParser()
parser.add_argument("out")
parser.add_argument("prompt")
parser.add_argument("model", nargs="?", default="Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
parser.add_argument("size", nargs="*", type=int, help="frames, height, width (default: the training's, or 81 480 832)")
parser.add_argument("--lora")
args = parser.parse_args()
pipe = WanPipeline.from_pretrained(args.model, dtype={"vae": torch.float32, "default": torch.bfloat16})
pipe.to("cuda" if torch.cuda.is_available() else "cpu")

size, noise, sampling = [81, 480, 832], NoiseConfig(strength=1.0), dict[str, Any]()
told = read_info(args.lora) if args.lora else read_merged_info(Path(args.model))
if told:
    trained = told.training
    if trained is None:
        parser.error(f"{args.lora or args.model} does not say what it was trained with: it is of an older worldr1")
    size, noise = [trained.frames, trained.height, trained.width], trained.noise
    sampling = {"num_inference_steps": trained.steps, "guidance_scale": told.guidance}
    # the sigma grid of the training; FlowMatchEulerDiscreteScheduler's own ends elsewhere
    pipe.scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=trained.shift
    )
if args.lora:
    pipe.load_lora_weights(args.lora)
frames, height, width = args.size or size

time, space = pipe.vae_scale_factor_temporal, pipe.vae_scale_factor_spatial
shape = (pipe.transformer.config.in_channels, (frames - 1) // time + 1, height // space, width // space)  # C, L, h, w
tokens = parse_plan(args.prompt).tokens
print("camera:", ", then ".join(tokens) or "no camera words, so independent noise")
path = requested_path(tokens, frames)
latents = start_noise(path, shape, [0], noise, PlanCache())  # one per seed; [1, C, L, h, w]

clip = {"num_frames": frames, "height": height, "width": width}
video = pipe(args.prompt, latents=latents, output_type="pt", **clip, **sampling).frames[0]
write_mp4(args.out, video, fps=16)
