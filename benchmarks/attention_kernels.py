"""Attention kernels against each other at full size: alone, in a whole forward and in a trained step.

    python benchmarks/attention_kernels.py [wan2.1-1.3b] [--kernels cudnn flash3 flash] [--only alone compiled]
    python benchmarks/attention_kernels.py tiny --device cpu --kernels math flash --compile-backend eager   # a dry run

The first of --kernels is what the others are held against: their results by |other - first| / |first|, their seconds
one after the other in every round of the same process. Sections (`--only`; all of them by default):

- alone: the kernels on random queries, keys and values of the model's sizes, forward and backward; within the video
  ("to" its tokens) and onto the text.
- forward, compiled: one velocity, eager and with compiled blocks.
- step, compiled-step: forward and backward of a LoRA of rank 32 (its products in the base's dtype, no checkpointing).

Seconds are medians of `--repeats` after two calls to warm up, which compile; TFLOP/s counts 4 and 10 multiply-adds a
token pair and channel forward and backward. Random weights; nothing is downloaded.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from full_size import MODELS, SIGMA, Case, Setting, about, checkpoint, in_turns, wan, with_lora
from torch import Tensor

from worldr1.backends.attention import choose_kernel, run_kernel

WAN = {name: one for name, one in MODELS.items() if one.kind == "wan"}
BACKWARD_FLOPS = 2.5
"""By those of the forward: five products of the forward's two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One kernel at one task."""

    task: str
    kernel: str
    seconds: float
    spread: tuple[float, float]
    difference: float
    """Of its result from the first kernel's, relative."""
    flops: float = 0.0


def rows_of(
    setting: Setting,
    task: str,
    calls: Mapping[str, Callable[[], object]],
    results: Mapping[str, Sequence[Tensor]],
    flops: float = 0.0,
) -> list[Row]:
    """One for each kernel. results: what each call makes."""
    first = next(iter(results.values()))
    return [
        Row(
            task=task,
            kernel=kernel,
            seconds=statistics.median(seconds),
            spread=(min(seconds), max(seconds)),
            difference=max(relative(a, b) for a, b in zip(results[kernel], first, strict=True)),
            flops=flops,
        )
        for kernel, seconds in in_turns(setting.device, calls, rounds=setting.repeats).items()
    ]


def relative(value: Tensor, reference: Tensor) -> float:
    """|value - reference| / |reference|."""
    a, b = value.float(), reference.float()
    return float((a - b).norm() / b.norm())


def table(title: str, rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        f"### {title}",
        "",
        "| what | kernel | seconds | least to most | TFLOP/s | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = f"{row.flops / row.seconds / 1e12:.0f}" if row.flops else "-"
        low, high = row.spread
        cells = (row.task, row.kernel, f"{row.seconds:.4f}", f"{low:.4f} to {high:.4f}", rate, f"{row.difference:.1e}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------------ sections


def alone(setting: Setting, kernels: Sequence[str], words: Tensor) -> list[Row]:
    """The kernels themselves: within the video, and from the video onto its words."""
    config, policy = setting.architecture.transformer.config, wan(setting, words=words).policy
    tokens = policy.tokens_of(policy.latent_shape(*setting.clip))
    del policy
    heads = (config["num_attention_heads"], config["attention_head_dim"])
    return [row for keys in (tokens, words.shape[1]) for row in _between(setting, kernels, tokens, keys, heads)]


def _between(setting: Setting, kernels: Sequence[str], queries: int, keys: int, heads: tuple[int, int]) -> list[Row]:
    q, k, v, weight = (
        torch.randn(1, num, *heads, device=setting.device, dtype=setting.dtype, requires_grad=True)
        for num in (queries, keys, keys, queries)
    )

    def gradients(out: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(out, (q, k, v), weight, retain_graph=True)

    what, flops = (
        f"{queries} to {keys} tokens, {heads[0]} heads of {heads[1]}",
        4.0 * queries * keys * heads[0] * heads[1],
    )
    outs = {kernel: run_kernel(kernel, q, k, v) for kernel in kernels}
    back = {kernel: partial(gradients, out) for kernel, out in outs.items()}
    with torch.no_grad():
        calls = {kernel: partial(run_kernel, kernel, q, k, v) for kernel in kernels}
        rows = rows_of(setting, f"forward, {what}", calls, {kernel: [out] for kernel, out in outs.items()}, flops)
    made = {kernel: call() for kernel, call in back.items()}
    return rows + rows_of(setting, f"backward, {what}", back, made, BACKWARD_FLOPS * flops)


def forward(setting: Setting, kernels: Sequence[str], words: Tensor, *, compiled: bool = False) -> list[Row]:
    """One velocity."""
    torch.compiler.reset()
    calls = {k: _with(k, wan(setting, words=words), setting, compiled=compiled).velocity for k in kernels}
    made = {kernel: [call()] for kernel, call in calls.items()}
    return rows_of(setting, f"forward, {'compiled' if compiled else 'eager'}", calls, made)


def step(setting: Setting, kernels: Sequence[str], words: Tensor, *, compiled: bool = False) -> list[Row]:
    """Forward and backward."""
    torch.compiler.reset()
    cases = {kernel: with_lora(setting, base_products=True, words=words) for kernel in kernels}
    for kernel, case in cases.items():
        checkpoint(case, False)
        _with(kernel, case, setting, compiled=compiled)
    made = {kernel: [_gradient(case)] for kernel, case in cases.items()}
    calls = {kernel: case.trained_step for kernel, case in cases.items()}
    return rows_of(setting, f"trained step, {'compiled' if compiled else 'eager'}", calls, made)


def _with(kernel: Any, case: Case, setting: Setting, *, compiled: bool) -> Case:
    case.policy.choose_attention(kernel)
    if compiled:
        case.policy.compile(backend=setting.compile_backend, dynamic=None)
    return case


def _gradient(case: Case) -> Tensor:
    """Of all trained parameters, in one row."""
    parameters = [p for p in case.policy.transformer.parameters() if p.requires_grad]
    loss = case.policy.velocity(case.latents, SIGMA, case.words).square().mean()
    return torch.cat([g.flatten().float() for g in torch.autograd.grad(loss, parameters)])


SECTIONS: Mapping[str, Callable[[Setting, Sequence[str], Tensor], list[Row]]] = {
    "alone": alone,
    "forward": forward,
    "compiled": partial(forward, compiled=True),
    "step": step,
    "compiled-step": partial(step, compiled=True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints command, machine and one table a section; writes them to --out as well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="wan2.1-1.3b", choices=WAN)
    parser.add_argument("--kernels", nargs="+", default=["cudnn", "flash3"], metavar="KERNEL")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile-backend", default="inductor", help="of torch.compile; eager for a dry run")
    parser.add_argument("--out", type=Path, help="markdown file to write")
    options = parser.parse_args(arguments)
    architecture, device, dtype = WAN[options.model], torch.device(options.device), torch.bfloat16
    head_dim = architecture.transformer.config["attention_head_dim"]
    for kernel in options.kernels:  # before anything is built: whoever cannot run says why
        choose_kernel(kernel, device=device, dtype=dtype, head_dim=head_dim)
    made_for = architecture.defaults
    setting = Setting(
        architecture=architecture,
        device=device,
        dtype=dtype,
        clip=(made_for.frames, made_for.height, made_for.width),
        repeats=options.repeats,
        compile_backend=options.compile_backend,
    )
    lines = about(setting, f"medians of {setting.repeats}, in turns")
    print("\n".join(lines), flush=True)
    words = wan(setting).words
    for title in options.only:
        lines += ["", table(title, SECTIONS[title](setting, options.kernels, words))]
        print(f"\n{lines[-1]}", flush=True)
        if options.out:
            options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
