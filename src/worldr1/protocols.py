"""What the stages ask of the models: protocols of one to four methods, structural, no base classes.

The mini models, the real ones and a user's own all stand behind these.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from worldr1.types import Gaussians, Prompt, Reconstruction, RenderedViews, RewardResult, Trajectory


@runtime_checkable
class VideoPolicy(Protocol):
    """A text-to-video flow model that gives velocities."""

    transformer: nn.Module
    """The network whose (LoRA) parameters are trained."""

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, L, h, w) of a clip; raises InputError for a size that the VAE cannot take."""
        ...

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """Text embeddings, as the pipeline makes them."""
        ...

    def velocity(
        self,
        latents: Float[Tensor, "B C L h w"],
        sigma: float | Float[Tensor, " B"],
        embeddings: Float[Tensor, "B S D"],
    ) -> Float[Tensor, "B C L h w"]:
        """v = eps - x_0 at `sigma`, float32, guidance included; differentiable in the trained parameters."""
        ...

    def decode(self, latents: Float[Tensor, "B C L h w"]) -> Float[Tensor, "B T 3 H W"]:
        """Video in 0..1, float32."""
        ...


class TrainablePolicy(VideoPolicy, Protocol):
    """A policy that the trainer can give a second network."""

    def rounded(self) -> VideoPolicy:
        """The same policy with a bfloat16 network of its own, without a LoRA; its weights are the caller's to set."""
        ...


class VideoSampler(Protocol):
    """A text-to-video model that generates and is not trained (its velocities may be of another kind)."""

    transformer: nn.Module

    def padding_frames(self, num_frames: int) -> int:
        """Video frames that are sampled before the first one and dropped; usually 0."""
        ...

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, L, h, w) of a clip, padding frames included; raises InputError for a size that it cannot make."""
        ...

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """Text embeddings, as the pipeline makes them."""
        ...

    def sample(
        self,
        embeddings: Float[Tensor, "B S D"],
        start: Float[Tensor, "B C L h w"],
        *,
        num_steps: int,
        on_step: Callable[[], None],
    ) -> Float[Tensor, "B C L h w"]:
        """Clean latents of start noise N(0, I), without further randomness."""
        ...

    def decode(self, latents: Float[Tensor, "B C L h w"], *, padding_frames: int) -> Float[Tensor, "B T 3 H W"]:
        """Video in 0..1, float32, without the padding frames."""
        ...


class Reconstructor(Protocol):
    """Lifts videos to cameras, depth and confidence (Depth Anything 3's role)."""

    licence: str

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """One Reconstruction per video; a video that cannot be lifted has status REJECTED and a reason."""
        ...


class Renderer(Protocol):
    """Rasterises 3D Gaussians."""

    def __call__(
        self,
        gaussians: Gaussians,
        world_from_camera: Float[Tensor, "V 4 4"],
        intrinsics_px: Float[Tensor, "V 3 3"],
        *,
        height: int,
        width: int,
        background: Float[Tensor, "3"],
    ) -> RenderedViews:
        """All views of one scene."""
        ...


class Critic(Protocol):
    """Looks at a render and answers with one digit (Qwen3-VL's role)."""

    licence: str

    def __call__(self, images: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, "B 10"]:
        """Probability of each digit 0..9."""
        ...


class QualityModel(Protocol):
    """Scores single frames against their prompt (HPSv3's role)."""

    licence: str

    def __call__(self, frames: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """Higher is better, in the model's own units."""
        ...


class PerceptualDistance(Protocol):
    """LPIPS's role."""

    licence: str

    def __call__(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """0 for equal images, about 1 for unrelated ones."""
        ...


class VideoReward(Protocol):
    """A whole reward: ours is `rewards.composite.CompositeReward`, a user's own stands in `reward.custom`.

    An attribute `reconstructor` (a `Reconstructor`), if it has one, finds the camera paths that evaluations record.
    """

    @property
    def licence(self) -> str:
        """Of its models."""
        ...

    @property
    def part_weights(self) -> Mapping[str, float]:
        """Part -> its factor in the value; all parts that the reward can ever give."""
        ...

    def __call__(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        trajectories: Sequence[Trajectory | None],
        phase_dynamic: bool,
        /,
    ) -> list[RewardResult]:
        """One result per video, in order; a video's does not depend on the others of the call.

        videos: 0..1, float32, on the policy's device. trajectories: the requested paths, None without camera words.
        phase_dynamic: the dynamic-only phase, in which ours pays for image quality alone. Every result has a value that
        is the sum of its parts by `part_weights`, and all videos of a prompt have the same parts. REJECTED: the video
        cannot be judged, and its value counts. FAULT: the reward failed, and the video is left out; an exception or a
        value that is not finite means the same.
        """
        ...


class PendingRewards(Protocol):
    """Rewards that are being computed elsewhere."""

    def done(self) -> bool:
        """Whether `result` returns at once."""
        ...

    def result(self) -> list[RewardResult]:
        """One per video, in order; waits for them. Raises what the call would have raised."""
        ...


@runtime_checkable
class LaterReward(Protocol):
    """A `VideoReward` that takes nothing from the policy's process while it scores, so that sampling may go on."""

    def submit(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        trajectories: Sequence[Trajectory | None],
        phase_dynamic: bool,
        /,
    ) -> PendingRewards:
        """What the call itself takes and says, without waiting. Holds no memory of the videos' device afterwards."""
        ...
