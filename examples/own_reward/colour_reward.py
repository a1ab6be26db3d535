"""A whole reward of one's own in 30 lines: vivid colours that stay what they are. README.md says how it is run."""

from collections.abc import Sequence

from torch import Tensor

from worldr1.types import Prompt, RewardResult, Status, Trajectory


class ColourReward:
    """Named in a recipe as `reward.custom = "colour_reward:ColourReward"`."""

    licence = "Apache-2.0"

    def __init__(self, device: str, *, vivid: float = 1.0, steady: float = 0.5) -> None:
        """device: of the models, if it had any. The rest comes from [reward.options.custom]."""
        self.part_weights = {"vivid": vivid, "steady": steady}

    def __call__(
        self, videos: Tensor, prompts: Sequence[Prompt], paths: Sequence[Trajectory | None], phase_dynamic: bool
    ) -> list[RewardResult]:
        """videos [B, T, 3, H, W] in 0..1 -> one result each, in order."""
        vivid = (videos.amax(2) - videos.amin(2)).mean((1, 2, 3))
        steady = 1 - videos.mean((3, 4)).diff(dim=1).abs().mean((1, 2))
        blank = videos.std((1, 2, 3, 4)) < 0.01
        rows = zip(vivid.tolist(), steady.tolist(), blank.tolist(), strict=True)
        return [self._result({"vivid": a, "steady": b}, empty) for a, b, empty in rows]

    def _result(self, parts: dict[str, float], empty: bool) -> RewardResult:
        parts = dict.fromkeys(parts, 0.0) if empty else parts  # rejected: the video's own doing, and it counts
        value = sum(self.part_weights[name] * part for name, part in parts.items())
        status, reason = (Status.REJECTED, "the video is blank") if empty else (Status.OK, "")
        return RewardResult(value=value, parts=parts, status=status, reason=reason)
