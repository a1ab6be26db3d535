"""What a published model costs at full size, on random weights: seconds and peak memory of every part.

    python benchmarks/full_size.py [wan2.1-1.3b] [--only forward train] [--frames 81 --height 480 --width 832]
    python benchmarks/full_size.py tiny --device cpu --compile-backend eager      # a dry run of everything in a minute

Sections (`--only`; all of them by default, of CogVideoX forward and decode alone):

- forward: one velocity per attention kernel, and with guidance (both halves in one batch, or one after the other).
- compiled: the same with compiled blocks, for the sizes that come, for any batch, and with tuned kernels.
- compiled-step: the trained step with compiled blocks.
- kernels: where a forward's time goes, without compiled blocks and with: attention, matrix products, each of the rest.
- decode: one video, fp32 and bfloat16 arithmetic, one latent frame and five at a time, and in tiles.
- train: forward and backward of one latent with a LoRA of rank 32, its products in float32 and in the base's dtype,
  with and without gradient checkpointing, beside what `training_memory` predicts.
- merge: a LoRA merged for good against the base: whether their graphs are equal (names and classes of all modules,
  names, shapes and dtypes of all parameters), and their seconds in turns, ten times at least: the ratio should be 1.

Every section alone fits into ten minutes on an H200 with wan2.1-1.3b; the compiled ones take most of them. Seconds are
the median of `--repeats` after two calls to warm up; peak memory is torch's, weights included. What does not fit
says so. Nothing is downloaded; velocities of random weights are about 1, and their videos are noise.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import heading, load
from tiny_models import TINY_COGVIDEOX, TINY_WAN
from torch import Tensor, nn

from worldr1.backends.architectures import ARCHITECTURES, Architecture
from worldr1.backends.attention import problem_with
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.gpu_memory import gib
from worldr1.backends.prompts import TextOptions
from worldr1.backends.wan import WanPolicy, decode_latents
from worldr1.backends.wan.training_memory import StepShape, kept_bytes
from worldr1.backends.wan.vae import decode_tiled
from worldr1.seeding import make_generator
from worldr1.train.lora import LoraConfig, graph_of, prepare_trainable
from worldr1.train.lora_products import compute_in_base_dtype, merge_for_good

MODELS = {**ARCHITECTURES, "tiny": TINY_WAN, "tiny-cogvideox": TINY_COGVIDEOX}
NAMED_KERNELS = ("cudnn", "flash", "flash3", "efficient", "math")
MATH_TOKENS = 2**13
"""From here on the attention matrix of the math kernel takes more memory than it is worth: 25 GiB a block at 480p."""
GUIDANCE = 5.0
SIGMA = 0.6
RANK = 32
PAIRS = 10
"""A merged LoRA and its base are compared so often at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is measured, and how often."""

    architecture: Architecture
    device: torch.device
    dtype: torch.dtype
    clip: tuple[int, int, int]
    repeats: int
    compile_backend: str

    @property
    def guided(self) -> dict[str, Any]:
        """Options of a model with guidance."""
        return {"guidance": GUIDANCE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a table."""

    what: str
    seconds: float | None
    """Median; None if it does not fit into memory."""
    peak_bytes: float
    """0 on a CPU, where nobody counts."""
    note: str


def measure(setting: Setting, what: str, work: Callable[[], object], *, note: str = "") -> Row:
    """Median seconds of `work` and the peak memory of all its calls."""
    cuda = setting.device.type == "cuda"
    if cuda:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
    try:
        seconds = [timed(setting.device, work) for _ in range(setting.repeats + 2)]
    except torch.OutOfMemoryError:
        return Row(what=what, seconds=None, peak_bytes=0.0, note="; ".join(filter(None, (note, "does not fit"))))
    warm_up = f"first two calls {sum(seconds[:2]):.1f} s"
    peak = float(torch.cuda.max_memory_allocated(setting.device)) if cuda else 0.0
    note = "; ".join(filter(None, (note, warm_up)))
    return Row(what=what, seconds=statistics.median(seconds[2:]), peak_bytes=peak, note=note)


def about(setting: Setting, numbers: str) -> list[str]:
    """Command, machine, and what is measured."""
    name = torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else "CPU"
    (frames, height, width), dtype = setting.clip, str(setting.dtype).removeprefix("torch.")
    model = f"{setting.architecture.name} with random weights, {dtype}"
    return [heading(), f"on: {name}; {load()}", f"model: {model}; {width} x {height}, {frames} frames; {numbers}"]


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of one call, the device's work included."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def table(title: str, rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [f"### {title}", "", "| what | seconds | peak GiB | |", "|---|---|---|---|"]
    for row in rows:
        seconds = "-" if row.seconds is None else f"{row.seconds:.4f}"
        peak = f"{row.peak_bytes / 2**30:.1f}" if row.peak_bytes else "-"
        lines.append(f"| {row.what} | {seconds} | {peak} | {row.note} |")
    return "\n".join(lines)


# -------------------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A model with something to give it."""

    policy: WanPolicy
    latents: Tensor
    words: Tensor

    @torch.no_grad()
    def velocity(self) -> Tensor:
        """One forward (two halves with guidance) without gradient."""
        return self.policy.velocity(self.latents, SIGMA, self.words)

    def trained_step(self) -> None:
        """Forward and backward; the gradient is dropped."""
        self.policy.velocity(self.latents, SIGMA, self.words).square().mean().backward()
        for parameter in self.policy.transformer.parameters():
            parameter.grad = None


def wan(setting: Setting, *, words: Tensor | None = None, **options: Any) -> Case:
    """The model, always of the same seed; without `words` its text encoder is made for one prompt and freed."""
    place: dict[str, Any] = {"device": setting.device, "dtype": setting.dtype, "text": TextOptions(keep=False)}
    policy = WanPolicy.from_architecture(setting.architecture, **place, **options)
    policy.choose_attention("auto")
    if words is None:
        words = policy.encode(["Camera push in. A red ball on a tiled floor."])
    return Case(policy=policy, latents=noise(policy.latent_shape(*setting.clip), setting), words=words)


def with_lora(setting: Setting, *, base_products: bool, **options: Any) -> Case:
    """The model with a LoRA that changes its output, ready to be trained."""
    case = wan(setting, **options)
    generator = make_generator(0, "benchmark")
    parameters = prepare_trainable(case.policy.transformer, "lora", lora=LoraConfig(rank=RANK), generator=generator)
    fill_b(parameters, generator)
    if base_products:
        compute_in_base_dtype(case.policy.transformer)
    return case


def fill_b(parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
    """Gives the LoRA's B values, without which it changes nothing. generator: a CPU one, wherever the model is."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if ".lora_B." in name:  # drawn on the CPU: torch refuses a CPU generator for a tensor of a GPU
                parameter.copy_(0.01 * torch.randn(parameter.shape, generator=generator, device="cpu"))


def noise(shape: tuple[int, ...], setting: Setting) -> Tensor:
    """One start latent."""
    return torch.randn(1, *shape, generator=make_generator(0, "benchmark")).to(setting.device)


# ------------------------------------------------------------------------------------------------------------ sections


def forward(setting: Setting) -> list[Row]:
    """Velocities, eager."""
    case = wan(setting)
    tokens = case.policy.tokens_of(case.latents.shape[1:])
    rows = [measure(setting, f"forward, auto ({case.policy.kernel})", case.velocity, note=f"{tokens} tokens")]
    head_dim = setting.architecture.transformer.config["attention_head_dim"]
    for kernel in NAMED_KERNELS:
        if kernel == "math" and tokens > MATH_TOKENS:
            continue
        if not problem_with(kernel, device=setting.device, dtype=setting.dtype, head_dim=head_dim):
            case.policy.choose_attention(kernel)
            rows.append(measure(setting, f"forward, {kernel}", case.velocity))
    del case
    for mode in ("joint", "separate"):
        guided = wan(setting, guidance_batch=mode, **setting.guided)
        rows.append(measure(setting, f"forward with guidance, {mode}", guided.velocity))
        del guided
    return rows


def compiled(setting: Setting) -> list[Row]:
    """Velocities with compiled blocks."""
    ways: dict[str, dict[str, Any]] = {
        "the sizes that come": {"dynamic": None},
        "any batch": {"dynamic": True},
        "the sizes that come, kernels tuned": {"dynamic": None, "mode": "max-autotune-no-cudagraphs"},
    }
    rows = []
    for what, options in ways.items():
        torch.compiler.reset()
        case = wan(setting)
        case.policy.compile(backend=setting.compile_backend, **options)
        rows.append(measure(setting, f"forward, compiled for {what}", case.velocity))
        del case
    return rows


def compiled_step(setting: Setting) -> list[Row]:
    """The trained step with compiled blocks."""
    rows = []
    for checkpointed in (False, True):
        torch.compiler.reset()
        case = with_lora(setting, base_products=True)
        checkpoint(case, checkpointed)
        case.policy.compile(backend=setting.compile_backend, dynamic=None)
        what = f"trained step, compiled, checkpointing {'on' if checkpointed else 'off'}"
        rows.append(measure(setting, what, case.trained_step, note="LoRA products in the base's dtype"))
        del case
    return rows


KINDS = {
    "attention": ("attention", "sdpa", "flash", "fmha", "cudnn_generated"),
    "matrix products": ("gemm", "nvjet", "cutlass", "addmm", "::mm", "splitk"),
}
"""Kinds of kernels, and what the names of theirs contain."""
NAMED = 8
"""So many of the other kernels are named."""


def kernels(setting: Setting) -> list[Row]:
    """Device seconds of one forward (of a CPU: of its operators), by kind of kernel."""
    rows = []
    for way in ("eager", "compiled"):
        torch.compiler.reset()
        case = wan(setting)
        if way == "compiled":
            case.policy.compile(backend=setting.compile_backend, dynamic=None)
        for _ in range(2):
            case.velocity()
        with torch.profiler.profile() as profiler:
            case.velocity()
        rows += kernel_rows(way, _seconds_by_kernel(profiler, setting))
        del case
    return rows


def _seconds_by_kernel(profiler: torch.profiler.profile, setting: Setting) -> dict[str, float]:
    """Its own seconds of each; an operator's kernels count under their own names."""
    on_gpu = setting.device.type == "cuda"
    found: dict[str, float] = {}
    for event in profiler.key_averages():
        if on_gpu == (event.device_type == torch.autograd.DeviceType.CUDA):
            found[event.key] = 1e-6 * (event.self_device_time_total if on_gpu else event.self_cpu_time_total)
    return found


def kernel_rows(way: str, seconds: Mapping[str, float]) -> list[Row]:
    """One row for each kind, one for each of the slowest other kernels, one for what is left, one for all."""
    left, rows = dict(seconds), []
    for kind, words in KINDS.items():
        mine = [name for name in left if any(word in name.lower() for word in words)]
        rows.append((kind, sum(left.pop(name) for name in mine)))
    slowest = sorted(left, key=lambda name: left[name], reverse=True)[:NAMED]
    rows += [(f"`{name[:60]}`", left.pop(name)) for name in slowest]
    rows += [("all others", sum(left.values())), ("together", sum(seconds.values()))]
    return [Row(what=f"{way}: {what}", seconds=spent, peak_bytes=0.0, note="") for what, spent in rows]


def decode(setting: Setting) -> list[Row]:
    """One video."""
    policy = wan(setting).policy
    latents = noise(policy.latent_shape(*setting.clip), setting)
    policy.transformer = nn.Identity()  # its memory is another section's
    frame = latents.shape[-2] * latents.shape[-1]
    ways: dict[str, Callable[[], object]] = {
        "whole, one latent frame at a time": lambda: decode_latents(policy.vae, latents, max_positions=frame),
        "whole, five latent frames at a time": lambda: decode_latents(policy.vae, latents, max_positions=5 * frame),
        "tiled": lambda: decode_tiled(policy.vae, latents),
    }
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for what, work in ways.items():

            @torch.no_grad()
            def run(work: Callable[[], object] = work, dtype: torch.dtype = dtype) -> object:
                rounded = dtype != torch.float32
                with torch.autocast(setting.device.type, dtype if rounded else None, enabled=rounded):
                    return work()

            rows.append(measure(setting, f"decode {str(dtype).removeprefix('torch.')}, {what}", run))
    return rows


def checkpoint(case: Case, choice: bool) -> None:
    """Sets gradient checkpointing."""
    _, *shape = case.latents.shape
    case.policy.checkpoint_gradients(choice, rows=1, latent_shape=(shape[0], shape[1], shape[2], shape[3]))


def train(setting: Setting) -> list[Row]:
    """Forward and backward, eager; without gradient checkpointing beside the prediction."""
    rows = []
    for base_products in (False, True):
        case = with_lora(setting, base_products=base_products)
        policy = case.policy
        kept = kept_bytes(
            policy.config,
            policy.dtype,
            StepShape(
                rows=1,
                tokens=policy.tokens_of(case.latents.shape[1:]),
                lora_float32=not base_products and policy.dtype != torch.float32,
            ),
        )
        for checkpointed in (True, False):
            checkpoint(case, checkpointed)
            products = "the base's dtype" if base_products else "float32"
            what = f"trained step, LoRA products in {products}, checkpointing {'on' if checkpointed else 'off'}"
            note = "" if checkpointed else f"predicted to keep {gib(kept)}"
            rows.append(measure(setting, what, case.trained_step, note=note))
        del case, policy
    return rows


def merge(setting: Setting) -> list[Row]:
    """The base and a merged LoRA, in turns, each first as often as second."""
    base, merged = wan(setting), with_lora(setting, base_products=False)
    unmerged = measure(setting, "forward, LoRA beside the base", merged.velocity)
    merge_for_good(merged.policy.transformer)
    graphs = compare_graphs(base.policy.transformer, merged.policy.transformer)
    difference = float((base.velocity() - merged.velocity()).abs().mean())
    calls = {"base": base.velocity, "merged": merged.velocity}
    seconds = in_turns(setting.device, calls, rounds=max(setting.repeats, PAIRS)).values()
    medians = [statistics.median(times) for times in seconds]
    ratios = sorted(second / first for first, second in zip(*seconds, strict=True))
    ratio = (
        f"merged / base = {medians[1] / medians[0]:.4f} (of {len(ratios)} pairs {ratios[0]:.4f} to {ratios[-1]:.4f}); "
        f"mean difference of their velocities {difference:.3f}"
    )
    return [
        Row(what="forward, base", seconds=medians[0], peak_bytes=0.0, note=graphs),
        Row(what="forward, LoRA merged", seconds=medians[1], peak_bytes=0.0, note=ratio),
        unmerged,
    ]


def in_turns(device: torch.device, calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round, after two to warm up; every other round goes backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name in list(calls)[:: -1 if number >= 2 and number % 2 else 1]:
            seconds[name].append(timed(device, calls[name]))
    return {name: times[2:] for name, times in seconds.items()}


def compare_graphs(a: nn.Module, b: nn.Module) -> str:
    """Whether two networks have the same modules and parameters, in words."""
    graphs = graph_of(a), graph_of(b)
    counts = [f"{len(modules)} modules, {len(parameters)} parameters" for modules, parameters in graphs]
    if graphs[0] == graphs[1]:
        return f"graphs equal: {counts[0]}"
    first = min(name for one, two in zip(*graphs, strict=True) for name, _ in one.items() ^ two.items())
    return f"graphs DIFFER: {' and '.join(counts)} (first {first})"


SECTIONS = {
    "forward": forward,
    "compiled": compiled,
    "compiled-step": compiled_step,
    "kernels": kernels,
    "decode": decode,
    "train": train,
    "merge": merge,
}


# ----------------------------------------------------------------------------------------------------------- CogVideoX


def cogvideox(setting: Setting, **options: Any) -> tuple[CogVideoXSampler, Tensor, Tensor]:
    """Model, start noise and words."""
    place: dict[str, Any] = {"device": setting.device, "dtype": setting.dtype, "text": TextOptions(keep=False)}
    model = CogVideoXSampler.from_architecture(setting.architecture, **place, **options)
    model.choose_attention("auto")
    words = model.encode(["Camera push in. A red ball on a tiled floor."])
    return model, noise(model.latent_shape(*setting.clip), setting), words


def cogvideox_forward(setting: Setting) -> list[Row]:
    """One step of sampling, with guidance and without."""
    rows = []
    for what, guidance in (("without guidance", 1.0), ("with guidance", 6.0)):
        model, start, words = cogvideox(setting, guidance=guidance)
        step = f"one step {what} ({model.kernel})"

        def work(model: CogVideoXSampler = model, start: Tensor = start, words: Tensor = words) -> object:
            return model.sample(words, start, num_steps=1)

        rows.append(measure(setting, step, work))
        del model, start, words, work
    return rows


def cogvideox_decode(setting: Setting) -> list[Row]:
    """One video."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for mode in ("whole", "tiled"):
            model, start, _ = cogvideox(setting, decode=mode, decode_dtype=dtype, guidance=1.0)
            what = f"decode {str(dtype).removeprefix('torch.')}, {mode}"

            def work(model: CogVideoXSampler = model, start: Tensor = start) -> object:
                return model.decode(start, padding_frames=model.padding_frames(setting.clip[0]))

            rows.append(measure(setting, what, work))
            del model, start, work
    return rows


COGVIDEOX_SECTIONS = {"forward": cogvideox_forward, "decode": cogvideox_decode}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints command, machine and one table a section; writes them to --out as well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="wan2.1-1.3b", choices=MODELS)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    for name in ("frames", "height", "width"):
        parser.add_argument(f"--{name}", type=int, help="(default: what the model was made for)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile-backend", default="inductor", help="of torch.compile; eager for a dry run")
    parser.add_argument("--out", type=Path, help="markdown file to write")
    options = parser.parse_args(arguments)
    architecture = MODELS[options.model]
    made_for = architecture.defaults
    setting = Setting(
        architecture=architecture,
        device=torch.device(options.device),
        dtype=getattr(torch, options.dtype),
        clip=(options.frames or made_for.frames, options.height or made_for.height, options.width or made_for.width),
        repeats=options.repeats,
        compile_backend=options.compile_backend,
    )
    sections = SECTIONS if architecture.kind == "wan" else COGVIDEOX_SECTIONS
    lines = about(setting, f"median of {setting.repeats} after two calls")
    print("\n".join(lines), flush=True)
    for title in options.only or sections:
        lines += ["", table(title, sections[title](setting))]
        print(f"\n{lines[-1]}", flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
