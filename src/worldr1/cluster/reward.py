"""The near side: a `protocols.VideoReward` whose models are elsewhere."""

import atexit
import itertools
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.cluster.messages import Request, unpack_reconstruction, video_ids
from worldr1.cluster.pool import Actors, Counts, Pool, Results, every
from worldr1.rewards.guard import fault_result, not_finite
from worldr1.rewards.own import SameParts
from worldr1.rewards.remote import RemoteConfig
from worldr1.types import Prompt, Reconstruction, RewardResult, Status, Trajectory


class _Closable(Actors, Protocol):
    def close(self) -> None: ...


class Pending:
    """Results that are being computed."""

    def __init__(self, futures: Sequence["Future[Results]"], collect: Callable[[], list[RewardResult]]) -> None:
        self._futures, self._collect = futures, collect

    def done(self) -> bool:
        """Whether `result` returns at once."""
        return all(future.done() for future in self._futures)

    def result(self) -> list[RewardResult]:
        """One per video, in the order in which they were given; waits for them. Raises as the reward does."""
        return self._collect()


class RemoteReward:
    """Scores on a pool of actors what the recipe's reward would score here, in the same batches.

    A video whose batch nobody could score is a fault. Safe to be called from several threads at once.
    """

    def __init__(
        self,
        actors: _Closable,
        config: RemoteConfig,
        *,
        batch: int,
        same_parts: SameParts | None = None,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        """Waits until an actor has loaded its reward. batch: videos per request, the reward's own number per call.

        same_parts: for a reward whose parts nobody else checks across actors. say: shows the user a line.
        Raises InputError if the reward cannot be loaded, ServerError if no actor starts.
        """
        self._batch, self._same_parts = batch, same_parts
        self._client, self._numbers = secrets.token_hex(6), itertools.count()
        self._actors, self._pool = actors, Pool(actors, config, say=say)
        atexit.register(self.close)
        try:
            about = self._pool.wait_until_ready()
        except BaseException:  # Ctrl-C too
            self.close()
            raise
        self.licence: str = about.licence
        self.part_weights: Mapping[str, float] = about.part_weights
        self.reconstructor = RemoteReconstructor(self) if about.has_reconstructor else None
        """Finds the camera paths that evaluations record; None: they record none."""

    @property
    def counts(self) -> Counts:
        """What the pool met so far."""
        return self._pool.counts

    def __call__(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        trajectories: Sequence[Trajectory | None],
        phase_dynamic: bool,
    ) -> list[RewardResult]:
        """One result per video, in order, as `protocols.VideoReward` says."""
        return self.submit(videos, prompts, trajectories, phase_dynamic).result()

    def submit(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        trajectories: Sequence[Trajectory | None],
        phase_dynamic: bool,
    ) -> Pending:
        """The same without waiting: the videos are copied to host memory now, or must not change if they are there."""
        videos = videos.detach().to("cpu", torch.float32)
        requests = [
            self._request(
                "score",
                videos[start : start + self._batch],
                prompts=tuple(prompts[start : start + self._batch]),
                trajectories=tuple(trajectories[start : start + self._batch]),
                phase_dynamic=phase_dynamic,
            )
            for start in range(0, max(len(videos), len(prompts), len(trajectories)), self._batch)
        ]
        futures = [self._pool.submit(request) for request in requests]
        return Pending(futures, lambda: self._collect(requests, futures))

    def lift(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """What the actors' 3D model finds, on the CPU and without Gaussians. Raises RuntimeError if it fails."""
        (found,) = every([self._pool.submit(self._request("lift", videos))])
        if isinstance(found, str):
            raise RuntimeError(found)
        return [unpack_reconstruction(reconstruction) for reconstruction in found]

    def close(self) -> None:
        """Ends the actors. Requests that are still open become faults."""
        atexit.unregister(self.close)
        self._pool.close()
        self._actors.close()

    def __enter__(self) -> "RemoteReward":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _request(self, call: Any, videos: Tensor, **given: Any) -> Request:
        name = f"{self._client}-{next(self._numbers)}"
        return Request(id=name, video_ids=video_ids(name, videos), call=call, videos=videos, **given)

    def _collect(self, requests: Sequence[Request], futures: Sequence["Future[Results]"]) -> list[RewardResult]:
        results: list[RewardResult] = []
        for request, found in zip(requests, every(futures), strict=True):
            if isinstance(found, str):
                results += [fault_result(self.part_weights, found)] * len(request.video_ids)
                continue
            for prompt, result in zip(request.prompts, found, strict=True):
                results.append(self._checked(prompt, result, request.phase_dynamic))
        return results

    def _checked(self, prompt: Prompt, result: RewardResult, phase_dynamic: bool) -> RewardResult:
        if result.status is Status.FAULT:
            return result
        if wrong := not_finite(result):
            return fault_result(self.part_weights, wrong)
        if self._same_parts is not None:
            self._same_parts(prompt, result.parts, phase_dynamic)
        return result


class RemoteReconstructor:
    """`protocols.Reconstructor` on the reward's actors."""

    def __init__(self, reward: RemoteReward) -> None:
        self._reward = reward
        self.licence = reward.licence

    @torch.no_grad()
    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """One per video, on the CPU, without Gaussians. Raises RuntimeError if the model fails or nobody answers."""
        return self._reward.lift(videos)
