"""Held-out measurements of the trunk's heads against known grades of damage."""

from typing import Any

import torch
from jaxtyping import Int
from scipy.stats import spearmanr
from torch import Tensor

from worldr1.mini.networks.trunk import MAX_DIGIT, Trunk
from worldr1.pretrain.damage import blur
from worldr1.pretrain.trunk import QUALITY_BLUR_PX, CriticSet, Damage, QualitySet, damage_pair
from worldr1.pretrain.vae import to_float


def _spearman(a: Tensor, b: Tensor) -> float:
    result: Any = spearmanr(a.cpu().numpy(), b.cpu().numpy())
    return float(result.statistic)


@torch.no_grad()
def trunk_metrics(
    trunk: Trunk,
    critic_set: CriticSet,
    critic_ids: Int[Tensor, "N S"],
    quality_set: QualitySet,
    generator: torch.Generator,
) -> dict[str, float]:
    """Spearman correlations with the grades, overall and per kind; the critic's mean digit on undamaged renders."""
    digits = torch.arange(MAX_DIGIT + 1.0, device=generator.device)
    scores = []
    for images, ids in zip(critic_set.images.split(64), critic_ids.split(64), strict=True):
        scores.append(trunk.read(to_float(images.to(ids.device)), ids)[0].softmax(-1) @ digits)
    score, kind = torch.cat(scores).cpu(), critic_set.kind
    metrics = {
        "critic_spearman": _spearman(-critic_set.grade, score),
        "critic_digit_undamaged": float(score[kind == Damage.NONE].mean()),
    }
    for damage in list(Damage)[1:]:
        mine = kind == damage
        if int(mine.sum()) > 2:
            metrics[f"critic_spearman_{damage.name.lower()}"] = _spearman(-critic_set.grade[mine], score[mine])
    frames = to_float(quality_set.frames)
    grade = torch.rand(len(frames), generator=generator, device=frames.device)
    blurred = torch.cat([blur(f, g * QUALITY_BLUR_PX) for f, g in zip(frames.split(64), grade.split(64), strict=True)])
    metrics["quality_spearman_blur"] = _spearman(-grade, _quality(trunk, blurred, quality_set.ids))
    other, difference = damage_pair(frames, generator)
    distance = torch.cat([trunk.distance(a, b) for a, b in zip(frames.split(64), other.split(64), strict=True)])
    metrics["distance_spearman"] = _spearman(difference, distance)
    return metrics


def _quality(trunk: Trunk, frames: Tensor, ids: Tensor) -> Tensor:
    pairs = zip(frames.split(64), ids.split(64), strict=True)
    return torch.cat([trunk.read(images, words)[1] for images, words in pairs])
