"""The file that a user attaches to an issue: versions, machine, recipe's hash, all numbers; nothing that is theirs.

No path of the user's, no option of code of their own (it may be a key), no host and user name: folders are cut down to
their last part, addresses to their scheme.
"""

import hashlib
import importlib.metadata
import math
import platform
import re
from collections.abc import Sequence
from typing import Any

import torch

from worldr1 import __version__
from worldr1.build import ExperimentConfig, choose_device
from worldr1.checkup.findings import Finding
from worldr1.config import dump_toml
from worldr1.rewards.profiles import ROLES

LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "safetensors",
    "numpy",
    "gsplat",
    "depth-anything-3",
    "lpips",
)
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*)://\S+", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\":,;]+[/\\])+([^\s/\\'\":,;]*)")


def scrub(text: str) -> str:
    """A sentence without addresses and without the folders of absolute paths."""
    return _PATH.sub(lambda match: f".../{match[1]}", _ADDRESS.sub(lambda match: f"{match[1]}://...", text))


def make_record(recipe: str, config: ExperimentConfig, findings: Sequence[Finding], seconds: float) -> dict[str, Any]:
    """Strict JSON data."""
    return {
        "worldr1": __version__,
        "ok": all(finding.verdict == "ok" for finding in findings),
        "recipe": scrub(recipe),
        "recipe_sha256": hashlib.sha256(dump_toml(config).encode()).hexdigest(),
        "settings": _settings(config),
        "machine": machine(config),
        "seconds": round(seconds, 2),
        "checks": [_check(finding) for finding in findings],
    }


def machine(config: ExperimentConfig) -> dict[str, Any]:
    """Versions and hardware."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "device": choose_device(config.device),
        "cuda": torch.version.cuda,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = {"name": properties.name, "gib": round(properties.total_memory / 2**30, 1)}
    return found


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    """What decides the numbers, by name."""
    model, clip, reward = config.model, config.clip, config.reward
    return {
        "model": {
            "name": scrub(model.folder),
            "weights": model.weights,
            "dtype": model.dtype,
            "guidance": model.guidance,
            "attention": model.attention,
        },
        "clip": [clip.frames, clip.height, clip.width],
        "reward": {
            "custom": reward.custom,
            "profile": reward.profile,
            "placement": reward.placement,
            **{role: scrub(reward.models.of(role)) for role in ROLES},
        },
    }


def _check(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "verdict": finding.verdict,
        "value": finding.value if math.isfinite(finding.value) else None,
        "threshold": finding.threshold,
        "seconds": round(finding.seconds, 2),
        "detail": scrub(finding.detail),
        "error": scrub(finding.broken),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
