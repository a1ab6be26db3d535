"""What a trainer and a reward actor say to each other, and when an answer is the answer to a request.

Every request and every video has an id that its client made; an answer repeats them, with the number of the attempt.
Tensors travel as numpy arrays, which Ray shares without copies and which no tensor loader has to open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from worldr1.types import Prompt, Reconstruction, RewardResult, Trajectory

TENSORS = ("world_from_camera", "depth", "intrinsics_px", "confidence")
"""Of a Reconstruction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Videos to be scored, or only lifted (the camera paths that evaluations record), in one call of the reward."""

    id: str
    video_ids: tuple[str, ...]
    """All different, also from those of every other request."""
    call: Literal["score", "lift"]
    videos: Tensor
    """[B, T, 3, H, W], 0..1, on any device; they must not change until the answer is there."""
    prompts: tuple[Prompt, ...] = ()
    trajectories: tuple[Trajectory | None, ...] = ()
    phase_dynamic: bool = False


class Packed(NamedTuple):
    """A request on its way: arrays in host memory."""

    id: str
    attempt: int
    video_ids: tuple[str, ...]
    call: str
    videos: np.ndarray
    """Dimensions in the order in which they lie in memory: `order` of the request's."""
    order: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    trajectories: tuple[Any, ...]
    phase_dynamic: bool


class Answer(NamedTuple):
    """What an actor makes of a request."""

    request_id: str
    attempt: int
    video_ids: tuple[str, ...]
    results: tuple[Any, ...]
    """One per id: `RewardResult`s, or `Reconstruction`s of arrays and without Gaussians."""
    failed: str = ""
    """Why there are no results: the call raised, as a model may (`rewards.guard`)."""
    refused: str = ""
    """Why there are none, and the run must stop: an InputError's sentence."""


class About(NamedTuple):
    """What a loaded reward says of itself."""

    licence: str
    part_weights: dict[str, float]
    has_reconstructor: bool
    refused: str = ""
    """Why it cannot be loaded: an InputError's sentence."""


def pack(request: Request, attempt: int) -> Packed:
    """Moves the videos to host memory, where they are not copied if they are there already."""
    videos = request.videos.detach().to("cpu", torch.float32)
    # kernels round differently for another layout, and a policy's videos are often no plain [B, T, 3, H, W] in memory
    order = tuple(sorted(range(videos.ndim), key=lambda dim: (-videos.stride(dim), dim)))
    known: dict[int, Any] = {id(path): _arrays(path) for path in request.trajectories}  # siblings share one path
    return Packed(
        request.id,
        attempt,
        request.video_ids,
        request.call,
        videos.permute(order).contiguous().numpy(),
        order,
        request.prompts,
        tuple(known[id(path)] for path in request.trajectories),
        request.phase_dynamic,
    )


def unpack_videos(packed: Packed, device: str) -> Tensor:
    """A copy of their own, with the strides that they had: what lies in Ray's memory must not be written to."""
    back = [packed.order.index(dim) for dim in range(len(packed.order))]
    return torch.tensor(packed.videos).permute(back).to(device)


def unpack_trajectories(packed: Packed) -> list[Trajectory | None]:
    """Siblings share one path again."""
    known = {id(path): None if path is None else _tensors(path, ("world_from_camera",)) for path in packed.trajectories}
    return [known[id(path)] for path in packed.trajectories]


def pack_reconstruction(reconstruction: Reconstruction) -> Reconstruction:
    """Of arrays, and without its Gaussians, which are many times as large as all the rest."""
    arrays = {name: getattr(reconstruction, name).detach().cpu().numpy() for name in TENSORS}
    return replace(reconstruction, **arrays, gaussians=None)


def unpack_reconstruction(packed: Reconstruction) -> Reconstruction:
    """Of tensors in host memory."""
    return _tensors(packed, TENSORS)


def results_in_order(request: Request, attempt: int, answer: Any) -> list[Any]:
    """The results of an answer in the order of the request's videos.

    Raises ValueError, in words, for anything that is not the complete answer to this attempt at this request: then
    none of it is used, because whoever mixes up one id may have mixed up all.
    """
    if not isinstance(answer, Answer):
        raise ValueError(f"the actor answered with a {type(answer).__name__}")
    if (answer.request_id, answer.attempt) != (request.id, attempt):
        raise ValueError(
            f"the actor answered attempt {answer.attempt} of request {answer.request_id} where attempt {attempt} of "
            f"request {request.id} was asked"
        )
    ids, results = answer.video_ids, answer.results
    if len(ids) != len(request.video_ids) or len(results) != len(ids):
        raise ValueError(
            f"the actor answered with {len(results)} results and {len(ids)} ids for {len(request.video_ids)} videos"
        )
    by_id = dict(zip(ids, results, strict=True))
    if len(by_id) != len(ids):
        raise ValueError("the actor gave one video two results")
    if by_id.keys() != set(request.video_ids):
        foreign = next(iter(by_id.keys() - set(request.video_ids)))
        raise ValueError(f"the actor answered for the video {foreign}, which is not of this request")
    kind = RewardResult if request.call == "score" else Reconstruction
    wrong = next((result for result in results if not isinstance(result, kind)), None)
    if wrong is not None:
        raise ValueError(f"the actor gave a video a {type(wrong).__name__}, not a {kind.__name__}")
    return [by_id[video_id] for video_id in request.video_ids]


def video_ids(request_id: str, videos: Sequence[Any] | Tensor) -> tuple[str, ...]:
    """Ids of a request's videos."""
    return tuple(f"{request_id}/{index}" for index in range(len(videos)))


def _arrays(path: Trajectory | None) -> Any:
    return None if path is None else replace(path, world_from_camera=path.world_from_camera.detach().cpu().numpy())


def _tensors(record: Any, names: Sequence[str]) -> Any:
    return replace(record, **{name: torch.tensor(getattr(record, name)) for name in names})
