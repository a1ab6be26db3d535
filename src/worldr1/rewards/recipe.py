"""What a recipe says about its reward: which models, where they are, and what each part counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from worldr1.errors import ConfigError
from worldr1.plugins import is_plugin
from worldr1.rewards.meta_view import MetaViewConfig
from worldr1.rewards.motion import MotionConfig
from worldr1.rewards.profiles import PROFILES, ROLES, Placement, ProfileName, RewardModel, Role
from worldr1.rewards.quality import QualityConfig
from worldr1.rewards.reconstruction import ReconstructionConfig
from worldr1.rewards.remote import RemoteConfig
from worldr1.rewards.trajectory import TrajectoryConfig

CUSTOM = "custom"
"""Key of a whole reward of the user's own, in the recipe and among its options."""
FROM_PROFILE, RANDOM, MINI = "profile", "random", "mini"
"""What a role of `reward.models` may say beside a place of weights and "package.module:Name"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardWeights:
    """Factors of the parts. A part with weight 0 is left out and its models are not called."""

    meta: float = 1.0
    recon: float = 1.0
    traj: float = 1.0
    gen: float = 1.0
    """lambda_gen."""
    motion: float = 0.0
    """Of S_motion, for dynamic prompts alone and in every phase (`rewards.motion`; not in the paper)."""

    def __post_init__(self) -> None:
        weights = (self.meta, self.recon, self.traj, self.gen, self.motion)
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError("Reward weights must not be negative, and at least one must be positive.")


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardModels:
    """Who stands behind each role: "profile", the profile's own model from its hub name; a folder, file or hub name of
    other weights for it; "random", its architecture without weights, to measure what it costs; "package.module:Name",
    code of your own (`plugins`), which is called with the device and its options."""

    reconstructor: str = FROM_PROFILE
    critic: str = FROM_PROFILE
    """Beside the above the address of an OpenAI-compatible server ("http://localhost:8000/v1")."""
    quality: str = FROM_PROFILE
    perceptual: str = FROM_PROFILE
    """Beside the above "mini": the packaged trunk, which knows pictures of any size."""

    def of(self, role: Role) -> str:
        """What a role says."""
        return getattr(self, role)


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """The whole reward."""

    custom: str | None = None
    """"package.module:Name": a whole reward of your own (`protocols.VideoReward`) in place of the four parts. Of the
    other keys only `batch` and `options.custom` are then read."""
    profile: ProfileName = "mini"
    """Which models judge: the mini world's, or those of `rewards.profiles`, of which `worldr1 plan` knows the sizes."""
    models: RewardModels = field(default_factory=RewardModels)
    placement: Placement = "resident"
    """Where they are while the policy works: "resident": on its GPU; "swap": in host memory, each of them on the GPU
    while it scores; "remote": on the actors of `remote`."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    """The actors of `placement = "remote"`."""
    weights: RewardWeights = field(default_factory=RewardWeights)
    trajectory: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    meta_view: MetaViewConfig = field(default_factory=MetaViewConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    rejected_value: float = 0.0
    """Value of each 3D part of a rejected video."""
    travel_gate: bool = False
    """Multiply S_meta and S_recon by min(1, travel / requested travel): a camera that stands still is easy to draw
    again, and would earn both in full for a request to move (docs/results.md, damage x part)."""
    dynamic_rule: Literal["phase", "prompt"] = "phase"
    """When R_3D is off: "phase": in the dynamic phase. "prompt": also for dynamic prompts of the main phase."""
    batch: int = 8
    """Videos per model call."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Tables for whoever stands behind a role: keyword arguments of code of your own (`options.custom`,
    `options.critic`, ...), and the backend's own keys of a published model (`options.quality.batch`)."""

    def __post_init__(self) -> None:
        self._check_names()
        if self.custom is not None and self.placement == "swap":
            raise ConfigError(
                'placement = "swap" moves the models of a profile; a custom reward places its own: set '
                'placement = "resident" or "remote".'
            )
        if self.profile == "mini" and self.placement == "swap":
            raise ConfigError('placement = "swap" is for real models; the mini ones are resident or remote.')
        if self.weights.motion > 0 and self.motion.reference == 0:
            raise ConfigError(
                "weights.motion needs motion.reference: twice the mean residual_motion of the base model's own samples "
                "for dynamic prompts (metrics.jsonl of a run with any reference has it)."
            )
        if self.batch < 1:
            raise ConfigError("The reward's batch must be at least 1.")
        if not self.rejected_value <= 0:
            raise ConfigError("rejected_value must be 0 or less: a rejected video must not score above a judged one.")

    @property
    def needed(self) -> tuple[Role, ...]:
        """The roles that the weights leave something to do; none with `custom`."""
        if self.custom is not None:
            return ()
        weights = self.weights
        needs: dict[Role, float] = {
            "reconstructor": weights.meta + weights.recon + weights.traj + weights.motion,
            "critic": weights.meta,
            "quality": weights.gen,
            "perceptual": weights.recon,
        }
        return tuple(role for role, weight in needs.items() if weight > 0)

    @property
    def published_models(self) -> tuple[RewardModel, ...]:
        """The profile's models that are really used: neither idle nor replaced by code of the user's own."""
        used = [role for role in self.needed if not is_plugin(self.models.of(role)) and self.models.of(role) != MINI]
        return tuple(model for model in PROFILES[self.profile] if model.role in used)

    @property
    def reconstructor_name(self) -> str | None:
        """The 3D model of the reward, as `worldr1 score` and `evaluate` call it ("mini", "da3-giant-1.1"), or code of
        the user's own; "" if it has none; None if a whole reward of the user's own leaves it open."""
        if self.custom is not None:
            return None
        said = self.models.reconstructor
        if "reconstructor" not in self.needed:
            return ""
        if is_plugin(said) or self.profile == MINI:
            return said if is_plugin(said) else MINI
        return next(model.name.lower() for model in PROFILES[self.profile] if model.role == "reconstructor")

    @property
    def plugins(self) -> dict[str, str]:
        """Recipe key -> "package.module:Name" of all code of the user's own that will be run."""
        if self.custom is not None:
            return {f"reward.{CUSTOM}": self.custom}
        named = {f"reward.models.{role}": self.models.of(role) for role in self.needed}
        return {key: name for key, name in named.items() if is_plugin(name)}

    def options_of(self, owner: str) -> Mapping[str, Any]:
        """Keyword arguments for the code behind a role, or behind "custom"."""
        return self.options.get(owner, {})

    def _check_names(self) -> None:
        """Names that nobody could load, and options that nobody would read."""
        if self.custom is not None and not is_plugin(self.custom):
            raise ConfigError(f'custom = "{self.custom}" names no code: write "package.module:Name".')
        for role in ROLES:
            said = self.models.of(role)
            known = (FROM_PROFILE, MINI) if role == "perceptual" else (FROM_PROFILE,)
            if not said or (self.profile == "mini" and said not in known and not is_plugin(said)):
                raise ConfigError(
                    f'models.{role} = "{said}": the mini profile has its own {role}; write "profile", or '
                    '"package.module:Name" for one of your own, or choose another profile.'
                )
        own = {CUSTOM: self.custom or "", **{role: self.models.of(role) for role in ROLES}}
        for owner, table in self.options.items():
            if owner not in own:
                raise ConfigError(f"options.{owner} belongs to nothing; the tables here are {', '.join(own)}.")
            if not isinstance(table, Mapping):
                raise ConfigError(f"options.{owner} must be a table of options.")
            published = owner != CUSTOM and self.profile != "mini" and own[owner] != MINI
            if not is_plugin(own[owner]) and not published:
                raise ConfigError(
                    f"options.{owner} would be read by nobody: it is for code of your own "
                    '("package.module:Name")'
                    + ("." if owner == CUSTOM else ", and for the published models of other profiles than mini.")
                )
