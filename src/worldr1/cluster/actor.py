"""The far side: one process with one reward. Plain Python; `cluster.ray_actors` makes a Ray actor of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from worldr1.cluster.messages import (
    About,
    Answer,
    Packed,
    pack_reconstruction,
    unpack_trajectories,
    unpack_videos,
)
from worldr1.errors import InputError
from worldr1.protocols import VideoReward
from worldr1.rewards.guard import FAULT_ERRORS


class Arithmetic(NamedTuple):
    """What the numbers of torch depend on beside the program; an actor takes over its trainer's."""

    threads: int
    matmul_precision: str

    @classmethod
    def here(cls) -> "Arithmetic":
        """Of this process."""
        return cls(torch.get_num_threads(), torch.get_float32_matmul_precision())

    def apply(self) -> None:
        """To this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul_precision)


class RewardActor:
    """Builds its reward when it is first asked something, and then answers one request at a time."""

    def __init__(self, make: Callable[[], VideoReward], device: str, arithmetic: Arithmetic) -> None:
        """make: builds the reward, in this process. device: "cpu" or "cuda", where it wants its videos."""
        self._make, self._device, self._arithmetic = make, device, arithmetic
        self._reward: VideoReward | None = None

    def about(self) -> About:
        """Loads the reward, which may take minutes."""
        try:
            reward = self._loaded()
        except InputError as error:
            return About("", {}, False, refused=str(error))
        finder = getattr(reward, "reconstructor", None)
        return About(reward.licence, dict(reward.part_weights), finder is not None)

    def answer(self, packed: Packed) -> Answer:
        """The results of one request. A bug (see `rewards.guard`) passes through and is raised at the trainer."""
        results, said = (), {}
        try:
            results = self._results(packed)
        except InputError as error:
            said = {"refused": str(error)}
        except FAULT_ERRORS as error:
            said = {"failed": f"{type(error).__name__}: {error}"}
        return Answer(packed.id, packed.attempt, packed.video_ids, results, **said)

    def _loaded(self) -> VideoReward:
        if self._reward is None:
            self._arithmetic.apply()
            self._reward = self._make()
            self._arithmetic.apply()  # whatever loading has changed
        return self._reward

    def _results(self, packed: Packed) -> tuple[Any, ...]:
        reward, videos = self._loaded(), unpack_videos(packed, self._device)
        if packed.call == "lift":
            with torch.no_grad():
                found = getattr(reward, "reconstructor")(videos)  # noqa: B009  not of the protocol
            return tuple(pack_reconstruction(reconstruction) for reconstruction in found)
        return tuple(reward(videos, list(packed.prompts), unpack_trajectories(packed), packed.phase_dynamic))
