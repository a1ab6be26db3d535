"""Run folders and judged ones as `worldr1 reproduce` fills them, made without training or judging: of what is there."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch

from worldr1.build import ExperimentConfig
from worldr1.config import dump_toml
from worldr1.evaluate.records import Evaluation
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, save_adapter

LAYER = "blocks.0.attn1.to_q"


def write_run(folder: Path, recipe: ExperimentConfig, *, updates: int | None = None, finished: bool = True) -> Path:
    """A run folder of that recipe. updates: written down; the recipe's if None. Its adapter depends on the seed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(dump_toml(recipe))
    rows = range(recipe.train.updates if updates is None else updates)
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"update": n, "seconds": 1.0}) + "\n" for n in rows))
    if finished:
        for name in ("before", "after"):
            Evaluation(records=(), seconds=1.0, guidance=1.0, strength=0.5).save(folder / "previews" / name)
        (folder / "final").mkdir(exist_ok=True)
        info = AdapterInfo(config=replace(LoraConfig(), rank=2), base="mini", guidance=1.0)
        down = torch.full((2, 192), float(recipe.train.seed))
        state = {f"{LAYER}.lora_A.weight": down, f"{LAYER}.lora_B.weight": down.T.contiguous()}
        save_adapter(folder / "final" / "adapter.safetensors", state, info)
    return folder


def write_judging(folder: Path, runs: list[Path], *, stream: str, num_prompts: int, **more: object) -> None:
    """judging.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    adapters = [hashlib.sha256((run / "final" / "adapter.safetensors").read_bytes()).hexdigest() for run in runs]
    found = {"adapters_sha256": adapters, "stream": stream, "num_prompts": num_prompts} | more
    (folder / "judging.json").write_text(json.dumps(found))
