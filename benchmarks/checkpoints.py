"""What a checkpoint of a full-size LoRA weighs and takes: the copy that an update waits for, and the writing beside it.

    python benchmarks/checkpoints.py [1.3b] [14b] [--folder DIR] [--device cpu|cuda]

The state is that of a run: parameters of the recipe's rank in all attention projections (random numbers), AdamW's
moments after a step, averages. *Copy*: what `Trainer.state` does, to host memory. *Write*: `save_checkpoint`, hashing
and fsync included, on the writer's thread. *Pause*: the longest that another Python thread could not run meanwhile,
measured by one that looks at the clock every two milliseconds; other programs on the machine make it longer.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import heading
from torch import nn

from worldr1.train.adapter_file import LoraConfig
from worldr1.train.checkpoint import TrainState, load_checkpoint, optimizer_state
from worldr1.train.checkpoint_writer import CheckpointWriter
from worldr1.train.ema import Ema


@dataclass(frozen=True, slots=True)
class Size:
    """Of a Wan 2.1 transformer."""

    blocks: int
    width: int


SIZES = {"1.3b": Size(30, 1536), "14b": Size(40, 5120)}
_LOOK_S = 0.002
_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def lora_parameters(size: Size, rank: int, device: str) -> dict[str, nn.Parameter]:
    """LoRA pairs of self- and cross-attention, named as in the transformer; float32."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = {"lora_A": (rank, size.width), "lora_B": (size.width, rank)}
    return {
        f"blocks.{block}.{attention}.{projection}.{part}.weight": nn.Parameter(
            torch.randn(shape, generator=generator, device=device)
        )
        for block in range(size.blocks)
        for attention in ("attn1", "attn2")
        for projection in _PROJECTIONS
        for part, shape in shapes.items()
    }


class Pauses:
    """The longest time between two looks of a thread at the clock. A context manager."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.is_set():
            before = time.perf_counter()
            time.sleep(_LOOK_S)  # comes back when it is given the interpreter again
            self.longest_s = max(self.longest_s, time.perf_counter() - before - _LOOK_S)

    def __enter__(self) -> "Pauses":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def measure(name: str, folder: Path, device: str, rounds: int = 3) -> str:
    """One row of the table; the median of the rounds, the longest pause of all."""
    parameters = lora_parameters(SIZES[name], LoraConfig().rank, device)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-4)
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, 1e-6)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    ema = Ema(parameters, 0.9)
    copies, writes, pauses = [], [], []
    run = folder / name
    for update in range(1, rounds + 1):
        start = time.perf_counter()
        state = TrainState(
            update=update,
            params={key: p.detach().to("cpu", copy=True) for key, p in parameters.items()},
            ema=ema.state_dict(),
            optimizer=optimizer_state(optimizer, parameters),
        )
        copies.append(time.perf_counter() - start)
        writer = CheckpointWriter(run, recipe="", keep_last=1)
        with Pauses() as looking:
            start = time.perf_counter()
            writer.save(state)
            writer.wait()
            writes.append(time.perf_counter() - start)
        pauses.append(looking.longest_s)
        del state
    saved = run / "checkpoints" / f"{rounds:06d}"
    size = sum(file.stat().st_size for file in saved.iterdir())
    start = time.perf_counter()
    load_checkpoint(saved)
    loading = time.perf_counter() - start
    count = sum(p.numel() for p in parameters.values())
    numbers = (f"{sorted(copies)[rounds // 2]:.2f}", f"{sorted(writes)[rounds // 2]:.2f}", f"{max(pauses):.2f}")
    return f"| {name} | {count / 1e6:.1f} M | {size:,} | {' | '.join(numbers)} | {loading:.2f} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Bytes and seconds of full-size checkpoints.")
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=" or ".join(SIZES))
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    print(heading())
    print(f"load of the machine: {os.getloadavg()[0]:.1f}; parameters on {args.device}\n")
    print("| LoRA of | parameters | bytes | copy, s | write, s | longest pause, s | load and verify, s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for name in args.sizes or SIZES:
            print(measure(name, Path(folder), args.device), flush=True)


if __name__ == "__main__":
    main()
