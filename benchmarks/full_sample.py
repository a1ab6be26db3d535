"""One whole video at full size on random weights: seconds and peak memory of sampling and of decoding.

    python benchmarks/full_sample.py wan2.1-14b --frames 121   # 20 steps without guidance, then the decoder
    python benchmarks/full_sample.py cogvideox1.5-5b           # what its authors sample with: 50 steps, guidance 6
    python benchmarks/full_sample.py tiny --device cpu         # a dry run; tiny-cogvideox too

Steps, guidance and size are what the model was made for, except for Wan 20 steps without guidance, as the recipes train
it. Beside the numbers of a Wan model is what `worldr1 plan` counts for its forwards and its decoder (of an H200 where
this machine has none). There is one video and no warm-up, so the first steps also find their kernels: the median of the
steps is said as well.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from full_size import MODELS
from full_update import CARD, GIB
from machine import heading, load

from worldr1.backends.architectures import Architecture
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.prompts import TextOptions
from worldr1.backends.wan import WanPolicy
from worldr1.planning.activations import HALF_BYTES, Numbers, forward_bytes
from worldr1.planning.cards import find_card, recognise
from worldr1.planning.decoder import Decoder, decode_bytes, decode_flops, video_bytes
from worldr1.planning.shapes import Latent, Pass, Transformer
from worldr1.planning.speed import Speed
from worldr1.planning.weights import FLOAT_BYTES, part_bytes
from worldr1.rollout.sampler import SamplerConfig, sample_ode
from worldr1.seeding import make_generator

WAN_STEPS = 20


def predict(architecture: Architecture, shape: Sequence[int], options: argparse.Namespace) -> dict[str, float]:
    """Seconds and peak GiB of the stages of a Wan model, as `worldr1 plan` counts them; empty for another model."""
    if architecture.kind != "wan":
        return {}
    network, decoder = Transformer.of(architecture.transformer.config), Decoder.of(architecture.vae.config)
    latent = Latent(channels=shape[0], frames=shape[1], height=shape[2], width=shape[3])
    given = Pass(rows=1, tokens=latent.tokens(network), text_tokens=architecture.max_text_length)
    name = recognise(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    speed = Speed.of(find_card(name or CARD), attention="auto", dtype="bfloat16", compiled=options.compile)
    passes = 1 if options.guidance == 1.0 else 2
    weights = part_bytes(architecture.transformer, HALF_BYTES) + part_bytes(architecture.vae, FLOAT_BYTES)
    working = decode_bytes(decoder, latent, dtype=options.decode_dtype)
    return {
        "sampling, s": options.steps * passes * speed.forward(network, given, None),
        "decode, s": speed.decode(decode_flops(decoder, latent), options.decode_dtype),
        "sampling, GiB": (weights + forward_bytes(network, given, Numbers(base_bytes=HALF_BYTES))) / GIB,
        "decode, GiB": (weights + max(working, 2 * video_bytes(latent, decoder))) / GIB,
    }


class Clock:
    """Seconds and peaks by stage, and the seconds of every step."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.found: dict[str, float] = {}
        self.steps: list[float] = []
        self._last = 0.0

    def _now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def run(self, stage: str, work: Callable[[], Any]) -> Any:
        """Its result."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        start = self._last = self._now()
        result = work()
        self.found[f"{stage}, s"] = self._now() - start
        self.found[f"{stage}, GiB"] = torch.cuda.max_memory_allocated(self.device) / GIB if self.cuda else 0.0
        return result

    def step(self) -> None:
        """One is done."""
        now = self._now()
        self.steps.append(now - self._last)
        self._last = now


def film(model: WanPolicy | CogVideoXSampler, clip: tuple[int, int, int], steps: int, clock: Clock) -> torch.Tensor:
    """The video [1, T, 3, H, W]."""
    shape = model.latent_shape(*clip)
    start = torch.randn(1, *shape, generator=make_generator(0, "benchmark")).to(clock.device)
    words = clock.run("text", lambda: model.encode(["Camera push in. A red ball on a tiled floor."]))
    if isinstance(model, CogVideoXSampler):
        sampled = clock.run("sampling", lambda: model.sample(words, start, num_steps=steps, on_step=clock.step))
        padding = model.padding_frames(clip[0])
        return clock.run("decode", lambda: model.decode(sampled, padding_frames=padding))
    config = SamplerConfig(num_steps=steps, shift=model.shift, first_index=0, last_index=0, batch=1)
    sampled = clock.run("sampling", lambda: sample_ode(model, words, start, config, on_step=clock.step))
    return clock.run("decode", lambda: model.decode(sampled))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints command, machine and the table; writes it to --out, its numbers beside it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    for name in ("frames", "height", "width", "steps"):
        parser.add_argument(f"--{name}", type=int, help="(default: what the model was made for)")
    parser.add_argument("--guidance", type=float, help="(default: of Wan 1, else what the model was made for)")
    parser.add_argument("--decode-dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="markdown file to write")
    options = parser.parse_args(arguments)
    architecture = MODELS[options.model]
    made_for, is_wan = architecture.defaults, architecture.kind == "wan"
    options.steps = options.steps or (WAN_STEPS if is_wan else made_for.steps)
    options.guidance = options.guidance or (1.0 if is_wan else made_for.guidance)
    clip = (options.frames or made_for.frames, options.height or made_for.height, options.width or made_for.width)
    clock = Clock(torch.device(options.device))
    place: dict[str, Any] = {"device": clock.device, "dtype": torch.bfloat16, "text": TextOptions(keep=False)}
    place |= {"guidance": options.guidance, "decode_dtype": getattr(torch, options.decode_dtype)}
    kind = WanPolicy if is_wan else CogVideoXSampler
    model = clock.run("model", lambda: kind.from_architecture(architecture, **place))
    model.choose_attention("auto")
    if options.compile:
        model.compile(dynamic=None)
    predicted = predict(architecture, model.latent_shape(*clip), options)
    frames, height, width = clip
    name = torch.cuda.get_device_name(clock.device) if clock.cuda else "CPU"
    head = [
        heading(),
        f"on: {name}; {load()}",
        f"model: {architecture.name} with random weights, bfloat16, attention {model.kernel}, decoder "
        f"{options.decode_dtype}; {width} x {height}, {frames} frames; {options.steps} steps, guidance "
        f"{options.guidance:g}",
    ]
    print("\n".join(head), flush=True)
    video = film(model, clip, options.steps, clock)
    finite = bool(torch.isfinite(video).all())
    lines = ["| | predicted | measured | measured / predicted - 1 |", "|---|---|---|---|"]
    for what, measured in clock.found.items():
        expected = predicted.get(what)
        said = ("-", "-") if expected is None else (f"{expected:.2f}", f"{measured / expected - 1:+.1%}")
        lines.append(f"| {what} | {said[0]} | {measured:.2f} | {said[1] if measured else '-'} |")
    step = f"steps: median {statistics.median(clock.steps):.3f} s, first {clock.steps[0]:.3f} s"
    lines += ["", f"{step}; video {tuple(video.shape)}, all finite: {finite}"]
    print("\n".join(lines), flush=True)
    if options.out:
        options.out.write_text("\n".join([*head, "", *lines]) + "\n", encoding="utf-8")
        numbers = {"measured": clock.found, "predicted": predicted, "steps_s": clock.steps, "finite": finite}
        options.out.with_suffix(".json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
