"""From a prompt to a reward, one step after the other: python examples/one_video.py OUT.png

Makes one video with the packaged mini model and draws, per prompt: five frames, the middle frame re-rendered from the
other frames' geometry (S_recon compares the two), and the off-path view that the critic judges (S_meta).
"""

import sys

import torch
from PIL import Image

from worldr1.build import build_policy, build_renderer, build_reward, load_experiment
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import synthesize
from worldr1.rewards.meta_view import UNSEEN_GREY, meta_view_jobs, meta_view_side
from worldr1.rewards.reconstruction import redraw_jobs
from worldr1.rewards.rendering import render_jobs
from worldr1.rollout.sampler import sample_ode
from worldr1.rollout.start_noise import PlanCache, start_noise
from worldr1.types import Prompt

PROMPTS = (
    "Camera push in. A checkered red ball and a plain blue box on a yellow painted floor in a green brick room.",
    "Camera orbit left. A striped purple cylinder and a marbled white ball on an orange checkered floor in a cyan "
    "painted room.",
    "Camera pull out, then move right. A marbled green cone on a white tiled floor under a blue sky.",
)

recipe = load_experiment("mini")
policy, reward = build_policy(recipe.model, "cpu"), build_reward(recipe.reward, "cpu", recipe.clip)

# prompt -> camera words -> trajectory -> start noise that already moves as the camera will
paths = [synthesize(parse_plan(prompt).tokens, recipe.clip.frames) for prompt in PROMPTS]
shape, plans = policy.latent_shape(recipe.clip.frames, recipe.clip.height, recipe.clip.width), PlanCache()
start = torch.cat([start_noise(path, shape, [seed], recipe.noise, plans) for seed, path in enumerate(paths)])

# start noise -> latents -> video
videos = policy.decode(sample_ode(policy, policy.encode(PROMPTS), start, recipe.sampler))

# video -> 3D -> four scores
results = reward(videos, [Prompt(id=i, text=t) for i, t in enumerate(PROMPTS)], paths, False)
for prompt, result in zip(PROMPTS, results, strict=True):
    print(prompt, {name: round(value, 3) for name, value in result.parts.items()})

rows = []
grey = torch.full((3,), UNSEEN_GREY)
settings = recipe.reward
for video, path, lifted in zip(videos, paths, reward.reconstructor(videos), strict=True):
    redraw = redraw_jobs([video], [lifted], config=settings.reconstruction)
    side = meta_view_side(path, settings.meta_view)
    off_path = meta_view_jobs([video], [lifted], [side], config=settings.meta_view, lift=settings.reconstruction.lift)
    size = {"height": video.shape[-2], "width": video.shape[-1], "background": grey}
    views = [render_jobs(build_renderer("cpu"), [job], **size)[0].colors for job in (*redraw, *off_path)]
    middle = views[0][len(views[0]) // 2]
    gap = torch.ones(3, video.shape[-2], 4)
    rows.append(torch.cat([*video[::4], gap, middle, gap, views[1][0]], -1))
sheet = torch.cat(rows, -2).clamp(0, 1).permute(1, 2, 0)
picture = Image.fromarray((sheet.numpy() * 255).round().astype("uint8"))
picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(sys.argv[1])
