"""The published models of a reward, by role: from what the recipe says to a loaded model.

`configure` reads the recipe and touches nothing, so that a run with an impossible key ends before anything is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from worldr1.backends.critics.config import CriticConfig
from worldr1.backends.depth_anything3 import (
    Cameras,
    DepthAnything3Config,
    depth_anything3_needs,
    load_depth_anything3,
    processed_size,
)
from worldr1.backends.published_files import Need
from worldr1.camera.trajectory import synthesize
from worldr1.config import parse_config
from worldr1.rewards.profiles import RewardModel, Role
from worldr1.rewards.recipe import FROM_PROFILE, RANDOM
from worldr1.types import intrinsics_px

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRequest:
    """One published model of a reward, to be loaded."""

    model: RewardModel
    said: str = FROM_PROFILE
    """By `reward.models`: "profile", the model's own hub name; "random"; a folder, file or hub name in its place; for
    the critic also the address of a server."""
    options: Mapping[str, Any]
    """Further keys of the backend's own configuration: `reward.options.ROLE`."""
    device: str
    clip: tuple[int, int, int]
    """Frames, height, width of the videos to come."""

    @property
    def short_name(self) -> str:
        """What the backends call the model."""
        return self.model.name.lower()

    def config(self, kind: type[Config], **given: Any) -> Config:
        """The backend's configuration: `given`, with the recipe's options on top. Raises ConfigError."""
        return parse_config(kind, given | dict(self.options), where=f"reward.options.{self.model.role}")


class Loader(NamedTuple):
    """How the models of a role come to be."""

    configure: Callable[[ModelRequest], Any]
    """The backend's configuration; raises ConfigError or InputError for keys that cannot be."""
    load: Callable[[Any, ModelRequest], Any]
    """The model. Raises InputError for weights that are not there, or not those."""
    needs: Callable[[Any], Sequence[Need]]
    """What `load` would miss, of a configuration."""


def _reconstructor_config(request: ModelRequest) -> DepthAnything3Config:
    weights = "" if request.said == FROM_PROFILE else request.said
    return request.config(DepthAnything3Config, model=request.short_name, weights=weights)


def _load_reconstructor(config: DepthAnything3Config, request: ModelRequest) -> Any:
    cameras = None
    if config.weights == RANDOM:  # whose own cameras are degenerate: nothing could be measured with them
        frames, height, width = request.clip
        size = processed_size(height, width, config.process_res_px)
        path = synthesize(("orbit_left",), frames).world_from_camera
        cameras = Cameras(world_from_camera=path, intrinsics_px=intrinsics_px(*size).expand(frames, 3, 3))
    return load_depth_anything3(config, request.device, cameras=cameras)


def _critic_config(request: ModelRequest) -> CriticConfig:
    said, name = request.said, request.short_name
    if said == RANDOM:  # which says a digit by chance only
        return request.config(CriticConfig, model=name, weights=RANDOM, min_digit_mass=0.0)
    if said.startswith(("http://", "https://")):
        return request.config(CriticConfig, base_url=said, model=request.model.hub)
    return request.config(CriticConfig, model=name if said == FROM_PROFILE else said)


def _load_critic(config: CriticConfig, request: ModelRequest) -> Any:
    from worldr1.backends.critics.load import load_critic  # takes seconds, like those below

    return load_critic(config, request.device)


def _critic_needs(config: CriticConfig) -> Sequence[Need]:
    from worldr1.backends.critics.load import critic_needs

    return critic_needs(config)


def _quality_config(request: ModelRequest) -> Any:
    given = {} if request.said == FROM_PROFILE else {"weights": request.said}
    if request.model.name == "HPSv3":
        from worldr1.backends.hpsv3 import Hpsv3Config

        return request.config(Hpsv3Config, **given)
    from worldr1.backends.hpsv2 import Hpsv2Config

    return request.config(Hpsv2Config, **given)


def _load_quality(config: Any, request: ModelRequest) -> Any:
    if request.model.name == "HPSv3":
        from worldr1.backends.hpsv3 import load_hpsv3

        return load_hpsv3(config, request.device)
    from worldr1.backends.hpsv2 import load_hpsv2

    return load_hpsv2(config, request.device)


def _quality_needs(config: Any) -> Sequence[Need]:
    from worldr1.backends.hpsv2 import Hpsv2Config, hpsv2_needs

    if isinstance(config, Hpsv2Config):
        return hpsv2_needs(config)
    from worldr1.backends.hpsv3 import hpsv3_needs

    return hpsv3_needs(config)


def _perceptual_config(request: ModelRequest) -> Any:
    from worldr1.backends.lpips import LpipsConfig

    if request.said in (FROM_PROFILE, RANDOM):
        given = {} if request.said == FROM_PROFILE else {"weights": RANDOM}
    else:
        given = {"trunk": request.said}
    return request.config(LpipsConfig, **given)


def _load_perceptual(config: Any, request: ModelRequest) -> Any:
    from worldr1.backends.lpips import load_lpips

    return load_lpips(config, request.device)


def _perceptual_needs(config: Any) -> Sequence[Need]:
    from worldr1.backends.lpips import lpips_needs

    return lpips_needs(config)


LOADERS: Mapping[Role, Loader] = {
    "reconstructor": Loader(_reconstructor_config, _load_reconstructor, depth_anything3_needs),
    "critic": Loader(_critic_config, _load_critic, _critic_needs),
    "quality": Loader(_quality_config, _load_quality, _quality_needs),
    "perceptual": Loader(_perceptual_config, _load_perceptual, _perceptual_needs),
}


def load_published(request: ModelRequest) -> Any:
    """The model of a request. Raises ConfigError for its keys, InputError for its weights."""
    loader = LOADERS[request.model.role]
    return loader.load(loader.configure(request), request)
