"""Seconds and memory of one trained sample in the official release's own rollout and update code, on random weights.

    python benchmarks/official_release.py measure CHECKOUT [--samples 1] [--train-steps 6] [--out official.json]
    python benchmarks/official_release.py measure CHECKOUT --tiny --device cpu      # a dry run in a minute: same code
    python benchmarks/official_release.py compare FOLDER

CHECKOUT is a folder of microsoft/World-R1, which the reader provides; nothing of it is kept here. `compare` reads
official.json and what full_update.py left beside it (update-1.3b-guided.json; update-1.3b.json and
update-1.3b-compiled.json where they are), and says how much of the difference is speed and how much is less work.

What runs as released: `main()` of scripts/train_world_r1.py, whole, with all that it calls in flow_grpo/ (LoRA, EMA,
optimizer, sampler of prompts, camera noise, rollout, log-probabilities, advantages, loss with KL, gradient
accumulation), under `world_r1_small` of config/world_r1.py: 832 x 480, 81 frames, 50 steps, guidance 5 in two calls,
batch 1, LoRA of rank 32, float32 weights under bfloat16 autocast, gradient checkpointing, KL 0.004, TF32.

What is not as released:
- num_epochs 3, where it has no end: it throws the first two away.
- num_batches_per_epoch (24) is --samples, and with it gradient_accumulation_steps.
- timestep_fraction (0.49: 24 of 50) trains --train-steps of a sample's 24 steps, which all cost the same; their seconds
  are scaled up to 24, so the update of a sample is a quarter measured and otherwise calculated.
- num_image_per_prompt 1 (2): its sampler wants processes times batch divisible by it. A sample's work is the same.
- Its weights are random, from the published configuration (WanPipeline.from_pretrained is replaced).
- Its text encoder is replaced by random embeddings at once: neither its seconds nor its 10.6 GiB are counted.
- Its reward servers are replaced by random numbers at once.
- wandb and imageio are empty (no log, no mp4 files; accelerate would find a wandb that is installed, so there must be
  none); `imp`, which Python no longer has, has its one function; `rp` is
  the stand-in of official_warper.py.
- A clock around its calls waits for the GPU at both ends of each.

Run once on a GPU, on 2026-11-30 on an H200 (docs/results.md), beside worldr1 at commit 209a4eb, by the script that this
one was made from. This file itself has been run as a dry run on a CPU only.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import diffusers
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from full_update import GIB, Watched
from machine import heading, load
from official_warper import COMMIT, from_file, stand_in
from tiny_models import TINY_WAN
from torch import Tensor, nn
from transformers import ByT5Tokenizer

from worldr1.backends.architectures import WAN_1_3B, Architecture
from worldr1.backends.random_weights import build_part, scale_output

SCRIPT, CONFIG = Path("scripts/train_world_r1.py"), Path("config/world_r1.py")
HOW_TO_GET_IT = f"git clone https://github.com/microsoft/World-R1 CHECKOUT && git -C CHECKOUT checkout {COMMIT}"
PACKAGES = ("ml_collections", "einops", "absl", "requests")
"""Of its imports, those that worldr1 does not bring along."""
RECIPE = "world_r1_small"
TRAINED = 24
"""Steps of a sample that it trains."""
TINY = {"height": 32, "width": 48, "frames": 9}
TINY_STEPS = 12
UPDATE = ("trained forwards", "reference forwards", "backward")
PER_SAMPLE = ("start noise", "rollout", "decode")

Numbers = Mapping[str, Any]


# ------------------------------------------------------------------------------------------------------------ measured


class StubEncoder(nn.Module):
    """Answers random embeddings at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.weight = width, nn.Parameter(torch.zeros(1))

    @property
    def device(self) -> torch.device:
        """Where it was moved."""
        return self.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What it was cast to."""
        return self.weight.dtype

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> SimpleNamespace:
        """[B, S] -> [B, S, D]."""
        embeddings = torch.randn((*ids.shape, self.width), device=self.device, dtype=self.dtype)
        return SimpleNamespace(last_hidden_state=embeddings)


class Calls:
    """Of the network, with gradient and without, and what its products are computed in."""

    def __init__(self, transformer: Any) -> None:
        self.number = {"trained": 0, "without gradient": 0}
        self.arithmetic: set[str] = set()
        transformer.register_forward_pre_hook(self._count)
        transformer.blocks[0].attn1.to_q.register_forward_hook(self._look)

    def _count(self, module: nn.Module, arguments: Any) -> None:
        self.number["trained" if torch.is_grad_enabled() else "without gradient"] += 1

    def _look(self, module: Any, arguments: Any, output: Tensor) -> None:
        self.arithmetic.add(f"{output.dtype} from {module.weight.dtype} weights")


def check(checkout: Path) -> str:
    """Its commit, "unknown" if it is a copy. Exits with one sentence if it is none, or if a package is missing."""
    if absent := [str(file) for file in (SCRIPT, CONFIG) if not (checkout / file).is_file()]:
        sys.exit(f"{checkout} holds no {absent[0]}; get the release by: {HOW_TO_GET_IT}")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        sys.exit(f"the release imports {', '.join(missing)}: pip install ml_collections einops requests")
    ask = ["git", "-C", str(checkout), "rev-parse", "--short", "--show-toplevel", "HEAD"]
    found = subprocess.run(ask, capture_output=True, text=True, check=False)
    lines = found.stdout.split()
    is_its_own = found.returncode == 0 and Path(lines[0]).resolve() == checkout.resolve()
    return lines[1] if is_its_own else "unknown"


def stand_ins() -> dict[str, types.ModuleType]:
    """What it imports and need not have."""

    def nothing(*_: Any, **__: Any) -> None: ...

    modules = {name: types.ModuleType(name) for name in ("wandb", "imageio", "imp")}
    for name in ("Video", "Image", "Table"):
        setattr(modules["wandb"], name, nothing)
    setattr(modules["imageio"], "mimsave", nothing)  # noqa: B010
    setattr(modules["imp"], "load_source", lambda name, file: from_file(name, Path(file)))  # noqa: B010
    return modules | {"rp": stand_in()}


@contextlib.contextmanager
def release(checkout: Path) -> Iterator[Any]:
    """Its training script as a module, imported in its folder, where it looks for its prompts."""
    here = Path.cwd()
    with patch.dict(sys.modules, stand_ins()):
        sys.path.insert(0, str(checkout))
        os.chdir(checkout)
        try:
            yield from_file("train_world_r1", checkout / SCRIPT)
        finally:
            os.chdir(here)
            sys.path.remove(str(checkout))


def random_pipeline(architecture: Architecture, device: torch.device) -> Any:
    """diffusers' WanPipeline in float32, whose velocities are about 1, as ours."""
    place: dict[str, Any] = {"device": device, "dtype": torch.float32, "seed": 0}
    transformer: Any = build_part(architecture.transformer, **place)
    config = transformer.config
    with torch.no_grad():
        x = torch.randn(1, config["in_channels"], 2, 8, 8, device=device)
        words = torch.randn(1, 8, config["text_dim"], device=device)
        velocity = transformer(x, torch.tensor([500.0], device=device), words, return_dict=False)[0]
        scale_output(transformer.proj_out, velocity)
    return diffusers.WanPipeline(
        tokenizer=ByT5Tokenizer(model_max_length=512),
        text_encoder=StubEncoder(config["text_dim"]),  # pyright: ignore[reportArgumentType]
        vae=build_part(architecture.vae, **place),  # pyright: ignore[reportArgumentType]
        scheduler=diffusers.UniPCMultistepScheduler(**architecture.scheduler.config),
        transformer=transformer,
    )


def settings(checkout: Path, folder: Path, *, samples: int, train_steps: int, tiny: bool) -> Any:
    """Its recipe, with what the head of this file says is changed. folder: for what it writes."""
    config = from_file("world_r1_config", checkout / CONFIG).get_config(RECIPE)
    if tiny:
        for name, pixels in TINY.items():
            config[name] = pixels
        config.sample.num_steps = TINY_STEPS
    config.num_epochs = 3
    config.sample.num_image_per_prompt = 1
    config.sample.num_batches_per_epoch = config.train.gradient_accumulation_steps = samples
    config.train.timestep_fraction = (train_steps + 0.01) / config.sample.num_steps
    config.logdir, config.save_dir = str(folder / "logs"), str(folder / "save")
    return config


def measure(checkout: Path, *, samples: int, train_steps: int, tiny: bool, device: torch.device) -> dict[str, Any]:
    """What `numbers` makes of one run. Raises RuntimeError if its network was called another number of times."""
    pipeline = random_pipeline(TINY_WAN if tiny else WAN_1_3B, device)
    calls, stages = Calls(pipeline.transformer), Watched(device)

    def reward(images: Any, prompts: Any, *_: Any, **__: Any) -> tuple[dict[str, list[float]], dict[str, Any]]:
        values = torch.rand(len(prompts)).tolist()
        return dict.fromkeys(("reward_3d", "reward_general", "reward_total"), values), {}

    with contextlib.ExitStack() as stack:
        train = stack.enter_context(release(checkout))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = settings(checkout, folder, samples=samples, train_steps=train_steps, tiny=tiny)
        log_prob = train.compute_log_prob

        def timed_log_prob(*args: Any, **kwargs: Any) -> Any:
            with stages.stage("trained forwards" if torch.is_grad_enabled() else "reference forwards"):
                return log_prob(*args, **kwargs)

        def put(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(patch.object(owner, name, value))

        train.FLAGS = SimpleNamespace(config=config)
        put(diffusers.WanPipeline, "from_pretrained", classmethod(lambda cls, *_, **__: pipeline))
        put(train.flow_grpo.rewards, "multi_score", lambda *_: reward)
        put(train, "compute_log_prob", timed_log_prob)
        for owner, name, stage in (
            (train, "prepare_rollout_latents_and_callback", "start noise"),
            (train, "rollout_with_logprob", "rollout"),
            (pipeline.vae, "decode", "decode"),
            (Accelerator, "backward", "backward"),
            (AcceleratedOptimizer, "step", "optimizer"),
        ):
            put(owner, name, stages.wrap(stage, getattr(owner, name)))
        stages.start()
        train.main(None)
        seconds = {name: cost.seconds for name, cost in stages.stop().items()}
        steps = int(config.sample.num_steps)
    checkpointed = "on" if pipeline.transformer.gradient_checkpointing else "off"
    print(f"arithmetic: {', '.join(sorted(calls.arithmetic))}; gradient checkpointing {checkpointed}")
    peaks = {name: peak / GIB for name, peak in stages.peaks.items()}
    return numbers(seconds, peaks, calls.number, samples=samples, train_steps=train_steps, num_steps=steps)


def numbers(
    seconds: Mapping[str, float],
    peaks: Mapping[str, float],
    calls: Mapping[str, int],
    *,
    samples: int,
    train_steps: int,
    num_steps: int,
) -> dict[str, Any]:
    """What is kept of a run. seconds: by stage, of all samples. peaks: GiB by stage. calls: of its network.

    Raises RuntimeError if these are another number than its steps, guidance and KL ask for: then it did other work.
    """
    expected = {"trained": 2 * train_steps * samples, "without gradient": 2 * (num_steps + train_steps) * samples}
    if dict(calls) != expected:
        raise RuntimeError(f"the release called its network {dict(calls)} times, expected were {expected}")
    per_sample = {name: seconds[name] / samples for name in PER_SAMPLE}
    trained = sum(seconds[name] for name in UPDATE)
    per_sample["update"] = (trained * TRAINED / train_steps + seconds["optimizer"]) / samples
    return {
        "stages": dict(seconds),
        "peaks": dict(peaks),
        "calls": dict(calls),
        "per_sample": per_sample,
        "samples": samples,
        "trained_steps": train_steps,
        "num_steps": num_steps,
    }


def measured_lines(found: Numbers) -> list[str]:
    """For a reader."""

    def row(values: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in values.items())

    per_sample, scale = found["per_sample"], TRAINED / found["trained_steps"]
    return [
        f"stages, s: {row(found['stages'])}",
        f"peaks, GiB (without its text encoder): {row(found['peaks']) or 'none on a CPU'}",
        f"calls of the network: {found['calls']}",
        f"a sample, s ({found['trained_steps']} of {TRAINED} trained steps, scaled by {scale:g}): {row(per_sample)}; "
        f"all {sum(per_sample.values()):.1f}; a forward {per_sample['rollout'] / (2 * found['num_steps']):.3f}",
    ]


# ------------------------------------------------------------------------------------------------------------ compared


def sample_seconds(update: Numbers) -> float:
    """Of one of our samples: a whole update over its videos, the median of the updates."""
    return statistics.median(sum(row["seconds"].values()) for row in _updates(update)) / update["counts"]["videos"]


def _updates(found: Numbers) -> list[Numbers]:
    """Those that ended, without one that compiled."""
    ended = [row for row in found["rows"] if row["metrics"]]
    return ended[1:] if found["preset"].endswith("compiled") else ended


def _stage(found: Numbers, name: str) -> float:
    return statistics.median(row["seconds"].get(name, 0.0) for row in _updates(found))


def compare(official: Numbers, updates: Mapping[str, Numbers]) -> list[str]:
    """The ratios. updates: full_update.py's numbers by preset, "1.3b-guided" among them.

    same work, faster: the release's seconds over what its work would take with our parts (its half-velocities at the
    rate of our rollout, our decode, its trained steps at the cost of the guided preset's one, which is two forwards
    and backwards and two reference forwards, as each of theirs). less work: those seconds over ours. Camera noise,
    text and rewards are left out of both.
    """
    per_sample, guided = official["per_sample"], updates["1.3b-guided"]
    theirs = sum(seconds for name, seconds in per_sample.items() if name != "start noise")
    half = _stage(guided, "rollout") / guided["counts"]["forwards"]
    decode = _stage(guided, "decode") / guided["counts"]["videos"]
    step = _stage(guided, "step") / (guided["counts"]["trained"] / 2)
    with_our_parts = 2 * official["num_steps"] * half + decode + TRAINED * step
    ours, peak = sample_seconds(guided), max(official["peaks"].values(), default=0.0)
    lines = [
        f"release: {theirs:.1f} s a sample, camera noise {per_sample['start noise']:.1f} s more; peak {peak:.1f} GiB "
        "without its text encoder",
        f"our parts: half-velocity {half:.3f} s, decode {decode:.2f} s, trained step with guidance and KL {step:.2f} s",
        f"same work {theirs / with_our_parts:.2f} times faster ({with_our_parts:.1f} s with our parts); "
        f"{with_our_parts / ours:.1f} times less work",
    ]
    return lines + [
        f"{preset}, {found['counts']['videos']:g} videos an update: {sample_seconds(found):.2f} s a sample, 1 / "
        f"{theirs / sample_seconds(found):.1f} of the release's"
        for preset, found in updates.items()
    ]


def read_folder(folder: Path) -> tuple[Numbers, dict[str, Numbers]]:
    """What `compare` takes. Exits with one sentence for what is missing."""
    presets = ("1.3b-guided", "1.3b", "1.3b-compiled")
    files = {preset: folder / f"update-{preset}.json" for preset in presets}
    for file, made_by in (
        (folder / "official.json", "official_release.py measure CHECKOUT --out"),
        (files["1.3b-guided"], "full_update.py 1.3b-guided --out"),
    ):
        if not file.is_file():
            sys.exit(f"there is no {file}; make it by: python benchmarks/{made_by} ...")
    official = json.loads((folder / "official.json").read_text(encoding="utf-8"))
    there = {preset: json.loads(file.read_text(encoding="utf-8")) for preset, file in files.items() if file.is_file()}
    return official, there


def main(arguments: list[str] | None = None) -> None:
    """One of the two subcommands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="run the release's code")
    measuring.add_argument("checkout", type=Path, help=f"of the release: {HOW_TO_GET_IT}")
    measuring.add_argument("--samples", type=int, default=1)
    measuring.add_argument("--train-steps", type=int, default=6, help=f"of a sample's {TRAINED} (default: 6)")
    measuring.add_argument("--device", default="cuda")
    measuring.add_argument("--tiny", action="store_true", help="a tiny model, for a dry run")
    measuring.add_argument("--out", type=Path, help="JSON file to write")
    commands.add_parser("compare", help="beside our updates").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "compare":
        print(*compare(*read_folder(options.folder)), sep="\n")
        return
    most = TINY_STEPS if options.tiny else TRAINED
    if not (options.samples >= 1 and 1 <= options.train_steps <= most):
        sys.exit(f"give at least one sample, and 1 to {most} trained steps")
    checkout, out = options.checkout.resolve(), options.out and options.out.resolve()
    commit = check(checkout)
    print(heading(), load(), f"release: commit {commit} (measured was {COMMIT})", sep="\n", flush=True)
    sizes: dict[str, Any] = {"samples": options.samples, "train_steps": options.train_steps, "tiny": options.tiny}
    found = measure(checkout, device=torch.device(options.device), **sizes)
    print(*measured_lines(found), sep="\n")
    if out:
        out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
