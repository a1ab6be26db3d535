"""The page beside every export: what it is, how to load it, what it was trained with, what it does not do alone."""

import shlex
from typing import Literal

from worldr1.train.adapter_file import AdapterInfo
from worldr1.train.merging import Merged

Form = Literal["native", "diffusers", "merged"]
"""Of an export."""

_PROMPT = "Camera push in, then pan left. A red lighthouse on a rocky coast."
_WAN_CHANNELS = 16


def model_card(info: AdapterInfo, form: Form, name: str, *, merged: Merged | None = None) -> str:
    """Markdown in the form of a hub's README. name: of the exported file or folder. merged: of form "merged"."""
    parts = [_head(info, form, merged), _table(info), "## Load it", _diffusers(info, form, name)]
    parts += [_comfyui(info, form, name), _camera(info, form, name)]
    return "\n\n".join(parts) + "\n"


def _head(info: AdapterInfo, form: Form, merged: Merged | None) -> str:
    tags = ["text-to-video", "wan", "world-r1", *([] if form == "merged" else ["lora"])]
    config = info.config
    what = f"rank {config.rank}, alpha {config.alpha:g}, on {', '.join(config.targets)}"
    if form == "merged":
        sentence = f"{info.base} with a LoRA ({what}) merged into its weights: W + (alpha / rank) B A, in float32."
    else:
        sentence = f"A LoRA for {info.base}: {what}. W + (alpha / rank) B A, so its scale is {config.scale:g}."
    if merged is not None and merged.rounding:
        sentence += f" Rounding to {merged.dtype} lost {merged.rounding:.1%} of the LoRA's change (ratio of norms)."
    front = ["---", "library_name: diffusers", "pipeline_tag: text-to-video", f"tags: [{', '.join(tags)}]", "---"]
    version = f" {info.version}" if info.version else ""
    source = f"Trained by worldr1{version}, an open implementation of World-R1, with rewards for 3D consistency."
    return "\n".join([*front, "", f"# {info.base}, trained for 3D consistency", "", sentence, source])


def _table(info: AdapterInfo) -> str:
    shape, training = info.shape, info.training
    base = info.base if shape is None else f"{info.base} ({shape.class_name or 'transformer'}, {shape.in_words()})"
    rows = {"base": f"{base}; it fits no other"}
    if training is None:
        rows["trained with"] = "not recorded: the file is of an older worldr1"
    else:
        noise = f"transport {training.transport}, strength {training.strength:g}"
        if training.parallax_strength is not None:
            noise += f"; {training.parallax_strength:g} for paths that move the camera's centre"
        rows["clips"] = f"{training.frames} frames of {training.width} x {training.height}"
        rows["sampling"] = f"{training.steps} steps, shift {training.shift:g}"
        rows["camera noise"] = noise
    rows["guidance"] = f"{info.guidance:g}{' (none)' if info.guidance == 1 else ''}"
    if info.recipe_sha256 is not None:
        rows["recipe"] = f"`recipe.toml` with sha256 {info.recipe_sha256}"
    rows["licence"] = "the base model's applies"
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _diffusers(info: AdapterInfo, form: Form, name: str) -> str:
    training = info.training
    model = name if form == "merged" else info.base
    lines = [
        "import torch",
        f"from diffusers import {'' if training is None else 'UniPCMultistepScheduler, '}WanPipeline",
        "from safetensors.torch import load_file",
        "",
        f'model = "{model}"  # its folder' + ("" if form == "merged" else ", or its name on the hub"),
        'pipe = WanPipeline.from_pretrained(model, dtype={"vae": torch.float32, "default": torch.bfloat16}).to("cuda")',
    ]
    if form != "merged":
        lines.append(f'pipe.load_lora_weights("{name}")')
    settings = f"guidance_scale={info.guidance:g}"
    if training is not None:
        lines += [
            "pipe.scheduler = UniPCMultistepScheduler(",
            f'    prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift={training.shift:g}',
            ")",
        ]
        sizes = f"num_frames={training.frames}, height={training.height}, width={training.width}"
        settings = f"{sizes}, num_inference_steps={training.steps}, {settings}"
    lines += [
        f'prompt = "{_PROMPT}"',
        'latents = load_file("noise.safetensors")["noise"][None]  # of the prompt\'s camera words: see below',
        f"video = pipe(prompt, latents=latents, {settings}).frames[0]",
    ]
    return "\n".join(["In diffusers:", "", "```python", *lines, "```"])


def _comfyui(info: AdapterInfo, form: Form, name: str) -> str:
    if form == "diffusers":
        return (
            "ComfyUI does not know these names for Wan: export with `--format native` for it, which diffusers reads "
            "too."
        )
    if form == "merged":
        return "ComfyUI reads neither this folder nor its names: export the LoRA with `--format native` for it."
    settings, node = f"Guidance {info.guidance:g}", ""
    if (training := info.training) is not None:
        node = "; with this file's name in its field `lora` it makes the noise of the training"
        settings += f", {training.steps} steps, ModelSamplingSD3 shift {training.shift:g}"
    return (
        f"In ComfyUI: put `{name}` into `models/loras` and load it with LoraLoaderModelOnly at strength 1 (the scale "
        f"is in the file). {settings}. The start noise comes from the node Camera Noise (World-R1) of worldr1's "
        f"`integrations/comfyui`{node}."
    )


def _camera(info: AdapterInfo, form: Form, name: str) -> str:
    training, sizes, noise = info.training, [], []
    if training is not None:
        sizes = ["--frames", training.frames, "--width", training.width, "--height", training.height]
        split = training.parallax_strength  # the prompt of the example moves the camera's centre
        strength = training.strength if split is None else split
        noise = ["--strength", f"{strength:g}", "--transport", training.transport]
    channels = _WAN_CHANNELS if info.shape is None else info.shape.in_channels
    latent = [] if channels in (None, _WAN_CHANNELS) else ["--channels", channels]
    prompt = ["--prompt", _PROMPT]
    lines = [
        "## Camera control needs the camera noise too",
        "",
        'The weights alone do not follow "Camera push in": they were trained on start noise that moves as the camera',
        "words ask, and want it at sampling. It is made before sampling and costs nothing there:",
        "",
        _command("noise", *prompt, "--out", "noise.safetensors", *sizes, *noise, *latent),
    ]
    if training is not None and training.parallax_strength is not None:
        lines.append(f"    # --strength {training.strength:g} where the camera only turns (pans)")
    if form != "native":
        model = ["--model", name] if form == "merged" else ["--model", "FOLDER", "--lora", name]
        whole = _command("generate", *prompt, *model, "--out", "video.mp4")
        where = "the weights' headers" if form == "merged" else "the file"
        lines += ["", f"Noise and video at once; {where} say the settings above, which are its defaults:", "", whole]
    return "\n".join(lines)


def _command(*words: object) -> str:
    return f"    {shlex.join(['worldr1', *map(str, words)])}"
