"""What a judge's look during training comes to: a few scores of which more is better (`train.stopping`)."""

import math
from collections.abc import Sequence
from statistics import fmean

from worldr1.evaluate.metrics.catalogue import WORDS
from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.values import HOLDOUT_PSNR, pooled_mean
from worldr1.rewards.trajectory import TrajectoryConfig, path_score


def look_scores(records: Sequence[VideoRecord]) -> dict[str, float]:
    """holdout_db: pooled PSNR of held-out frames of moving clips. path: mean of S_traj's formula on the judge's path
    errors. words: mean share of the prompt's words that are seen, if the judge has a probe.

    A score that no video has is missing.
    """
    moving = [record for record in records if record.group is MotionGroup.MOVING]
    holdout = [record.measures[HOLDOUT_PSNR] for record in moving if HOLDOUT_PSNR in record.measures]
    paths = [_path_score(record) for record in records if "rotation_error_deg" in record.measures]
    words = [record.measures[WORDS] for record in records if WORDS in record.measures]
    scores = {"holdout_db": pooled_mean(holdout, HOLDOUT_PSNR)} if holdout else {}
    scores |= {"path": fmean(paths)} if paths else {}
    return scores | ({"words": fmean(words)} if words else {})


def _path_score(record: VideoRecord) -> float:
    turn_rad = math.radians(record.measures["rotation_error_deg"])
    return path_score(record.measures["translation_error"], turn_rad, TrajectoryConfig())
