"""Camera control in stock diffusers, by the start noise alone. Nothing is trained or patched.

    python examples/camera_noise_diffusers.py OUT.mp4 "Camera push in, then pan left. A red ball on a wooden floor."
    python examples/camera_noise_diffusers.py OUT.mp4 PROMPT MODEL FRAMES HEIGHT WIDTH

MODEL is a Wan text-to-video pipeline: a folder or a name on the Hugging Face hub. The model reads the whole prompt,
camera words included, as World-R1 does; a prompt without them gets independent noise. `worldr1 camera --prompt ...`
shows which words are understood.

The noise can also come from a file: `worldr1 noise --prompt ... --out noise.safetensors` writes the same numbers
(other sizes: --frames, --height, --width, and --channels 48 --spatial-stride 16 for Wan 2.2 TI2V 5B), and then
    latents = safetensors.torch.load_file("noise.safetensors")["noise"][None]
"""

import sys

import torch
from diffusers import WanPipeline

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.video_io import write_mp4

out, prompt, model = (*sys.argv[1:4], "Wan-AI/Wan2.1-T2V-1.3B-Diffusers")[:3]
frames, height, width = map(int, sys.argv[4:7] or (81, 480, 832))
pipe = WanPipeline.from_pretrained(model, dtype={"vae": torch.float32, "default": torch.bfloat16})
pipe.to("cuda" if torch.cuda.is_available() else "cpu")

time, space = pipe.vae_scale_factor_temporal, pipe.vae_scale_factor_spatial
shape = (pipe.transformer.config.in_channels, (frames - 1) // time + 1, height // space, width // space)  # C, L, h, w
tokens = parse_plan(prompt).tokens
print("camera:", ", then ".join(tokens) or "no camera words, so independent noise")
path = requested_path(tokens, frames)
latents = start_noise(path, shape, [0], NoiseConfig(strength=1.0), PlanCache())  # one per seed; [1, C, L, h, w]

video = pipe(prompt, latents=latents, num_frames=frames, height=height, width=width, output_type="pt").frames[0]
write_mp4(out, video, fps=16)
