"""One training loop for every mini model: cosine schedule over a time budget, EMA, resumable state.

A budget is counted in seconds of training, because the mini models are made in runs of a few minutes on a lent GPU;
the schedule runs over `total_s`, however many runs that takes.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldr1.errors import InputError

Log = dict[str, Tensor]
Loss = Callable[[], tuple[Tensor, Log]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How one part is trained."""

    seconds: float
    """Of this run."""
    total_s: float
    """Over which the learning rate falls; several runs may share it."""
    lr: float = 1e-3
    weight_decay: float = 0.01
    beta2: float = 0.98
    warmup_steps: int = 200
    max_grad_norm: float = 1.0
    ema_decay: float = 0.998
    log_every: int = 200


class Fit:
    """Weights, their EMA, Adam and progress of one part; `run` trains until the run's seconds are over."""

    def __init__(self, module: nn.Module, folder: Path, config: FitConfig) -> None:
        self.module, self.folder, self.config = module, folder, config
        self.steps, self.seconds_done = 0, 0.0
        self.parameters: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        device = self.parameters[0].device
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=config.lr,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
            fused=device.type == "cuda",
        )
        self.ema = [p.detach().clone() for p in self.parameters]
        self._resume()

    def run(self, loss: Loss) -> None:
        """Train; prints a line every `log_every` steps."""
        console, start = Console(), time.monotonic()
        before = self.seconds_done
        while (elapsed := time.monotonic() - start) < self.config.seconds:
            self.seconds_done = before + elapsed
            self._set_learning_rate()
            value, log = loss()
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
            if bool(torch.isfinite(norm)):
                self.optimizer.step()
            self.steps += 1
            decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
            with torch.no_grad():
                torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
            if self.steps % self.config.log_every == 1:
                numbers = " ".join(f"{name} {float(number):.4f}" for name, number in log.items())
                console.print(
                    f"{self.folder.name} step {self.steps} {self.seconds_done:.0f}s {numbers}", highlight=False
                )
        self.seconds_done = before + time.monotonic() - start

    def _set_learning_rate(self) -> None:
        progress = min(1.0, self.seconds_done / self.config.total_s)
        warm = min(1.0, (self.steps + 1) / self.config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def use_ema(self) -> None:
        """Put the averaged weights into the module."""
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.ema, strict=True):
                parameter.copy_(average)

    def save(self) -> None:
        """Write the exact state (fp32) into the part's folder, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"ema.{i}": x for i, x in enumerate(self.ema)}
        tensors |= {f"weight.{i}": p.detach() for i, p in enumerate(self.parameters)}
        for i, parameter in enumerate(self.parameters):
            state = self.optimizer.state.get(parameter, {})
            tensors |= {f"{name}.{i}": state[name] for name in ("exp_avg", "exp_avg_sq") if name in state}
        temporary = self.folder / "state.part"
        save_file({name: x.contiguous().cpu() for name, x in tensors.items()}, temporary)
        os.replace(temporary, self.folder / "state.safetensors")
        progress = {"steps": self.steps, "seconds": self.seconds_done}
        (self.folder / "progress.json").write_text(json.dumps(progress))

    def _resume(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        tensors = load_file(path, device=str(self.parameters[0].device))
        saved = [tensors[f"weight.{i}"].shape for i in range(sum(name.startswith("weight.") for name in tensors))]
        if saved != [parameter.shape for parameter in self.parameters]:
            raise InputError(f"{path} is the state of another network; delete {self.folder} to train anew")
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters):
                parameter.copy_(tensors[f"weight.{i}"])
                self.ema[i].copy_(tensors[f"ema.{i}"])
        progress = json.loads((self.folder / "progress.json").read_text())
        self.steps, self.seconds_done = progress["steps"], progress["seconds"]
        for i, parameter in enumerate(self.parameters):
            if f"exp_avg.{i}" in tensors:
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.steps), device=parameter.device),
                    "exp_avg": tensors[f"exp_avg.{i}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq.{i}"],
                }


def bf16_state(module: nn.Module) -> dict[str, Tensor]:
    """State dict on the CPU, floating point as bfloat16: how weights are shipped."""
    return {
        name: (x.to(torch.bfloat16) if x.is_floating_point() else x).detach().cpu().contiguous()
        for name, x in module.state_dict().items()
    }
