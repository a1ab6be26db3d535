"""Which compression, at which resolution? VAEs of several shapes, trained equally long on the same clips.

    worldr1 mini build corpus --state DIR --out DIR                # once; or --height and --width render clips here
    python benchmarks/compression.py --state DIR --devices cuda:0 cuda:1 --seconds 150 --out FILE.md

Every variant has the loss, the optimiser and the seconds of `mini build vae` and a device to itself; variants beyond
the number of devices wait for their turn. PSNR is that of averaged weights on held-out clips, from the mean squared
error over all of them; decoding is timed on the CPU, one clip in one thread. Tokens are what the transformer has to
attend over: at patch 1 one for each latent pixel, at patch 2 one for 2 x 2 of them.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from machine import heading, load
from torch import Tensor

from worldr1.backends.wan import decode_latents
from worldr1.mini.networks.base import VaeConfig, new_vae
from worldr1.mini.scenes import FLOORS
from worldr1.pretrain import corpus as corpora
from worldr1.pretrain.corpus import Corpus, build_corpus
from worldr1.pretrain.loop import Fit, FitConfig
from worldr1.pretrain.vae import VaeTask, through_vae, to_float
from worldr1.scene.image_metrics import psnr_db

VARIANTS = {
    "x8, 48 channels": VaeConfig(),
    "x8, 32 channels": VaeConfig(channels=32),
    "x8, 64 channels": VaeConfig(channels=64),
    # no patching, as in Wan2.1; narrower, because its layers work on four times as many pixels
    "x4, 16 channels": VaeConfig(channels=16, patch=1, width=16, decoder_width=20),
}
SEED = 2026
TIMED_DECODES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all variants share."""

    state: Path
    """Holds the corpora `train` and `held_out` of `mini build corpus`, or those that are rendered here."""
    seconds: float
    clips: int
    """Training clips."""
    held_out: int
    batch: int
    height: int
    width: int

    def folder(self, name: str) -> Path:
        """Of the corpus `train` or `held_out`."""
        usual = (self.height, self.width) == (corpora.HEIGHT, corpora.WIDTH)
        return self.state / (name if usual else f"{name}_{self.height}x{self.width}")

    def render_missing(self, device: str) -> None:
        """Renders the corpora that there are not yet at this size."""
        for name, num, seed in (("train", self.clips, SEED), ("held_out", self.held_out, SEED + 1)):
            folder = self.folder(name)
            if not (folder / "prompts.json").exists():
                with patch.multiple(corpora, HEIGHT=self.height, WIDTH=self.width):
                    build_corpus(num, seed=seed, device=device, imperfect=name == "train").save(folder)

    def corpus(self, name: str) -> Corpus:
        """The first `clips` (or `held_out`) clips of a corpus, on the CPU."""
        return Corpus.load(self.folder(name), "cpu").rows(slice(self.clips if name == "train" else self.held_out))


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One row of the table."""

    variant: str
    psnr_db: float
    psnr_db_by_floor: dict[str, float]
    """Of the floors that occur in the held-out clips."""
    compression: float
    """Values of the clip for each value of the latent."""
    tokens: int
    """Of one clip at patch 1."""
    equal_patch: int
    """Patch of the transformer that makes the tokens those of x8."""
    equal_tokens: int
    parameters: int
    decode_cpu_s: float
    """Of one clip, one thread, least of three."""
    steps: int


def measure(variant: str, settings: Settings, device: str) -> Result:
    """Trains one variant and measures it."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    config = VARIANTS[variant]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # torch's own initialisation knows no generator
        vae: Any = new_vae(config)
    vae.to(device)
    train = settings.corpus("train")
    train = replace(train, video=train.video.to(device))
    # the folder of the state is never written: a comparison starts from nothing
    fit_config = FitConfig(
        seconds=settings.seconds,
        total_s=settings.seconds,
        lr=1.2e-3,
        weight_decay=0.0,
        beta2=0.99,
        ema_decay=0.995,
    )
    fit = Fit(vae, settings.state / "compression" / variant, fit_config)
    fit.run(VaeTask(vae, train, batch=settings.batch, generator=torch.Generator(device).manual_seed(SEED)))
    fit.use_ema()
    vae.eval().requires_grad_(False)
    held_out = settings.corpus("held_out")
    overall, floors = psnr(vae, held_out, device)
    frames = held_out.video.shape[1]
    shape = latent_shape(config, frames, settings.height, settings.width)
    equal_patch = max(1, 8 // config.space)
    return Result(
        variant=variant,
        psnr_db=overall,
        psnr_db_by_floor=floors,
        compression=held_out.video[0].numel() / math.prod(shape),
        tokens=math.prod(shape[1:]),
        equal_patch=equal_patch,
        equal_tokens=math.prod(shape[1:]) // equal_patch**2,
        parameters=sum(p.numel() for p in vae.parameters()),
        decode_cpu_s=decode_seconds(vae.cpu(), shape),
        steps=fit.steps,
    )


def latent_shape(config: VaeConfig, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    """(C, L, h, w) of a clip."""
    return config.channels, (frames - 1) // 4 + 1, height // config.space, width // config.space


def psnr(vae: Any, held_out: Corpus, device: str) -> tuple[float, dict[str, float]]:
    """PSNR of all clips, and of those with each floor."""
    errors = []
    for video in held_out.video.split(16):
        original = to_float(video.to(device))
        errors.append((through_vae(vae, original) - original).square().mean((1, 2, 3, 4)).cpu())
    error = torch.cat(errors)
    floors = {}
    for floor in FLOORS:
        has = torch.tensor([f" {floor} floor" in prompt for prompt in held_out.prompts])
        if bool(has.any()):
            floors[floor] = float(psnr_db(error[has].mean()))
    return float(psnr_db(error.mean())), floors


def decode_seconds(vae: Any, shape: tuple[int, int, int, int]) -> float:
    """Least CPU seconds of decoding one clip in one thread."""
    latents: Tensor = torch.randn((1, *shape), generator=torch.Generator().manual_seed(SEED))
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(TIMED_DECODES):
        start = time.process_time()
        with torch.no_grad():
            decode_latents(vae, latents)
        times.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return min(times)


def measure_all(variants: Sequence[str], settings: Settings, devices: Sequence[str]) -> list[Result]:
    """Every variant on the next free device, each in a process of its own; results in the order of `variants`."""
    settings.render_missing(devices[0])
    if len(devices) == 1:
        return [measure(variant, settings, devices[0]) for variant in variants]
    context = get_context("spawn")
    free = list(devices)

    def alone(variant: str) -> Result:
        device = free.pop()
        with context.Pool(1) as process:
            result = process.apply(measure, (variant, settings, device))
        free.append(device)
        return result

    with ThreadPoolExecutor(len(devices)) as threads:
        return list(threads.map(alone, variants))


def table(results: Sequence[Result]) -> list[str]:
    """Markdown lines."""
    floors = [floor for floor in FLOORS if all(floor in r.psnr_db_by_floor for r in results)]
    columns = [
        "variant",
        "PSNR, dB",
        *floors,
        "compression",
        "tokens",
        "at equal tokens",
        "parameters",
        "cpu-s",
        "steps",
    ]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for r in results:
        cells = [r.variant, f"**{r.psnr_db:.2f}**", *(f"{r.psnr_db_by_floor[floor]:.2f}" for floor in floors)]
        cells += [f"{r.compression:.1f}", f"{r.tokens}", f"{r.equal_tokens} (patch {r.equal_patch})"]
        cells += [f"{r.parameters / 1e6:.2f} M", f"{r.decode_cpu_s:.2f}", f"{r.steps}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints command, machine and table; writes them to --out, and the numbers beside them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder of the corpora; missing ones are rendered")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--devices", nargs="+", default=["cuda"], help="one variant at a time on each")
    parser.add_argument("--seconds", type=float, default=150.0, help="training time of each variant")
    parser.add_argument("--clips", type=int, default=24_000)
    parser.add_argument("--held-out", type=int, default=384)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--height", type=int, default=corpora.HEIGHT, help="pixels, a multiple of 8")
    parser.add_argument("--width", type=int, default=corpora.WIDTH)
    parser.add_argument("--out", type=Path, required=True, help="markdown file to write; FILE.json holds the numbers")
    options = vars(parser.parse_args(arguments))
    variants, devices, out = options.pop("variants"), options.pop("devices"), options.pop("out")
    if options["height"] % 8 or options["width"] % 8:
        parser.error("--height and --width must be multiples of 8")
    settings = Settings(**options)
    results = measure_all(variants, settings, devices)
    size = f"clips of {settings.height} x {settings.width}, {settings.seconds:g} s of training, batch {settings.batch}"
    lines = [heading(), f"{size}; on {', '.join(devices)}; {load()}", "", *table(results)]
    print("\n".join(lines))
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps([asdict(result) for result in results], indent=1))


if __name__ == "__main__":
    main()
