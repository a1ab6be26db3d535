"""Rollouts of Flow-GRPO-Fast: groups of videos that follow the ODE, branch at an SDE step, and can be replayed.

Explicit Euler in float32 everywhere but at a group's SDE steps; all members of a group take them at the same indices
("iso-temporal", Flash-GRPO, arXiv 2605.15980). With `share_prefix` the group is one latent until it branches, so its
ODE prefix and the velocity at the branch cost one forward, not G (DESIGN 3.1, research/math.md 3).

Replay. `replay_step` repeats the forward of a recorded step at the batch shape at which the rollout made it, so on CPU
in float32 the velocity, the log-probability and the ratio 1 come back bit for bit. Kernels round differently for
another batch, so with `exact_replay` a group's SDE step is forwarded alone (leading dimension as in `Rollout.states`,
in chunks of `batch`), while all other steps of all groups share their batches. Without `exact_replay` (for GPUs, which
promise no bits) the SDE steps join too, and the ratio is within 1e-5 of 1.

Letters: G members, C channels, L latent frames, h w latent pixels, S text tokens, D embedding width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.diffusion import kernels
from worldr1.diffusion.kernels import KernelConfig, KernelName
from worldr1.diffusion.schedule import sigma_grid
from worldr1.errors import ConfigError, InputError
from worldr1.protocols import VideoPolicy
from worldr1.seeding import make_generator
from worldr1.types import Prompt, Rollout, Trajectory

MOST_STEPS = 1000
"""Models learn from 1000 times; more steps than that fall between them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How rollouts are sampled. Raises ConfigError for keys that are impossible together."""

    num_steps: int = 20
    """Euler steps, S."""
    shift: float = 3.0
    """Shift of the sigma grid."""
    kernel: KernelName = "flow_sde"
    """Transition of the SDE steps."""
    level: float | None = None
    """Noise level of the kernel; None: the kernel's own default."""
    sde_steps: int = 1
    """SDE steps of a group. first_index = 0, last_index = num_steps - 2 and sde_steps = num_steps - 1 is Flow-GRPO."""
    first_index: int = 2
    """Lowest index an SDE step may have. 2, because flow_sde is nearly singular at 0 and 1 (0 is fine for wan)."""
    last_index: int | None = None
    """Highest index, at most num_steps - 2: noise of the last step would stay in the video. None: num_steps / 2 - 1."""
    share_prefix: bool = True
    """One start noise and one ODE prefix for the group. False: every member runs its own."""
    batch: int = 64
    """Most latents in one forward."""
    exact_replay: bool = True
    """Forward SDE steps at the batch shape of the replay (see the module's text). False is faster on a GPU."""
    ode_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the network in the ODE steps of rollouts. "bfloat16": a second network takes them, which is the policy's
    rounded, with its LoRA added in (`train.lora.copy_merged`): faster on a GPU for 2 more bytes a parameter. The ratio
    stays as it is, for SDE steps and their replay, evaluations and `generate` are the policy's own."""

    def __post_init__(self) -> None:
        if self.num_steps > MOST_STEPS:
            raise ConfigError(f"num_steps is {self.num_steps}: give at most {MOST_STEPS}.")
        last = self.final_index
        if not 0 <= self.first_index <= last <= self.num_steps - 2:
            raise ConfigError(
                f"SDE steps {self.first_index} to {last} do not fit {self.num_steps} sampling steps: "
                f"choose 0 <= first_index <= last_index <= num_steps - 2 = {self.num_steps - 2}."
            )
        if not 1 <= self.sde_steps <= last - self.first_index + 1:
            raise ConfigError(
                f"sde_steps is {self.sde_steps}, but only {last - self.first_index + 1} indices "
                f"({self.first_index} to {last}) may be drawn: lower it or widen first_index and last_index."
            )
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}: give at least 1.")
        if any(r == 0 for r in self.rectifications):
            raise ConfigError(f"Kernel {self.kernel} adds no noise at level {self.level}: raise the level above 0.")

    @property
    def final_index(self) -> int:
        """`last_index`, or its default."""
        return self.num_steps // 2 - 1 if self.last_index is None else self.last_index

    @property
    def allowed_indices(self) -> range:
        """The indices SDE steps are drawn from."""
        return range(self.first_index, self.final_index + 1)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The grid, S + 1 numbers."""
        return tuple(sigma_grid(self.num_steps, self.shift).tolist())

    @property
    def transition(self) -> KernelConfig:
        """The kernel on this grid."""
        level = kernels.DEFAULT_LEVELS.get(self.kernel, 0.0) if self.level is None else self.level
        return KernelConfig(name=self.kernel, level=level, sigma_guard=self.sigmas[1])

    @property
    def rectifications(self) -> tuple[float, ...]:
        """lambda of every allowed index, in order."""
        transition, steps = self.transition, list(pairwise(self.sigmas))
        return tuple(kernels.rectification(transition, *steps[i]) for i in self.allowed_indices)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRequest:
    """One group to sample. `check` says what must hold."""

    prompt: Prompt
    trajectory: Trajectory | None
    """Recorded with the rollout; the start noise already knows it. None: no camera words."""
    embeddings: Float[Tensor, "1 S D"]
    start: Float[Tensor, "#G C L h w"]
    """Start noise at sigma 1: one for the group, or (without `share_prefix` only) one per member."""
    step_indices: tuple[int, ...]
    """SDE steps, as `draw_step_indices` makes them."""
    seeds: tuple[int, ...]
    """One per member, all different: they seed the SDE noise. Their number is the group's size."""

    def check(self, config: SamplerConfig) -> None:
        """Raises InputError for seeds, start noise, embeddings or indices that do not fit together."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"A group needs different seeds, one per member, not {self.seeds}.")
        allowed = (1,) if config.share_prefix else (1, len(self.seeds))
        if self.start.ndim != 5 or len(self.start) not in allowed:
            raise InputError(
                f"Start noise {tuple(self.start.shape)} must be [N, C, L, h, w] with N in {allowed} for a group of "
                f"{len(self.seeds)}{' that shares its prefix' if config.share_prefix else ''}."
            )
        if self.embeddings.ndim != 3 or len(self.embeddings) != 1:
            raise InputError(f"A group needs one prompt's embeddings [1, S, D], not {tuple(self.embeddings.shape)}.")
        ordered = tuple(sorted(set(self.step_indices)))
        if not ordered or ordered != self.step_indices or ordered[0] < 0 or ordered[-1] > config.num_steps - 2:
            raise InputError(
                f"SDE steps {self.step_indices} must be different, ascending and from 0 to {config.num_steps - 2}."
            )


class ReplayedStep(NamedTuple):
    """A recorded SDE step under the policy's present weights, with gradient."""

    velocity: Float[Tensor, "#G C L h w"]
    log_prob: Float[Tensor, " G"]
    log_ratio: Float[Tensor, " G"]
    """Against the rollout's velocity; exactly 0 for equal velocities."""


def draw_step_indices(config: SamplerConfig, generator: torch.Generator) -> tuple[int, ...]:
    """`sde_steps` different indices, uniform over the allowed ones, ascending. `generator` lives on the CPU."""
    drawn = torch.randperm(len(config.allowed_indices), generator=generator)[: config.sde_steps]
    return tuple(sorted(config.allowed_indices[int(i)] for i in drawn))


def sample_group(policy: VideoPolicy, request: GroupRequest, *, config: SamplerConfig, policy_version: int) -> Rollout:
    """`sample_groups` of one group."""
    return sample_groups(policy, [request], config=config, policy_version=policy_version)[0]


@torch.no_grad()
def sample_groups(
    policy: VideoPolicy,
    requests: Sequence[GroupRequest],
    *,
    config: SamplerConfig,
    policy_version: int,
    ode_policy: VideoPolicy | None = None,
) -> list[Rollout]:
    """One rollout per request, in order; the groups share forwards whatever their SDE steps are.

    policy_version: updates done so far. ode_policy: takes the ODE steps of a group instead of `policy`, whose SDE steps
    are always its own: the ratio is of what was sampled. Latents stay on the start noise's device; the SDE noise of a
    member comes from a CPU generator of its seed and the step, so neither device nor batch nor the other members change
    it.
    Raises InputError for a request that does not hold together, or embeddings of different lengths.
    """
    for request in requests:
        request.check(config)
    if len({r.embeddings.shape for r in requests}) > 1:
        raise InputError("All prompts of an update need embeddings of one shape: encode them in one call.")
    groups = [_Group.begin(request, config) for request in requests]
    transition = config.transition
    for index, (sigma, sigma_next) in enumerate(pairwise(config.sigmas)):
        velocities = _velocities(policy, groups, index, config, ode_policy)
        straight: list[tuple[_Group, Tensor]] = []
        for group, velocity in zip(groups, velocities, strict=True):
            if index in group.request.step_indices:
                group.branch(velocity, index, transition, sigma, sigma_next)
            else:
                straight.append((group, velocity))
        _euler_together(straight, sigma, sigma_next)
    return [group.finish(policy_version) for group in groups]


@torch.no_grad()
def sample_ode(
    policy: VideoPolicy,
    embeddings: Float[Tensor, "P S D"],
    start: Float[Tensor, "P C L h w"],
    config: SamplerConfig,
    *,
    on_step: Callable[[], None] = lambda: None,
) -> Float[Tensor, "P C L h w"]:
    """Clean latents by Euler alone: evaluation, previews and `generate`. on_step: is called after every step."""
    if len(embeddings) != len(start):
        raise InputError(f"{len(start)} start noises need as many embeddings, not {len(embeddings)}.")
    latents = start.float()
    for sigma, sigma_next in pairwise(config.sigmas):
        velocity = _chunked_velocity(policy, latents, sigma, embeddings, config.batch)
        latents = kernels.euler(latents, velocity, sigma, sigma_next)
        on_step()
    return latents


class RecordedStep(NamedTuple):
    """Step number `position` (0 .. len(rollout.step_indices) - 1) of a rollout, with its prompt's embeddings."""

    rollout: Rollout
    position: int
    embeddings: Float[Tensor, "1 S D"]

    @property
    def step_index(self) -> int:
        """Which of the sampler's steps it is."""
        return self.rollout.step_indices[self.position]

    @property
    def state(self) -> Float[Tensor, "#G C L h w"]:
        """Latent before the step."""
        return self.rollout.states[self.position]


def replay_batches(steps: Sequence[RecordedStep], config: SamplerConfig) -> list[list[int]]:
    """Which of `steps` to forward together: each alone with `exact_replay`, else up to `batch` latents.

    Positions in `steps`, each in exactly one batch; a group's states are never split over two.
    """
    if config.exact_replay:
        return [[number] for number in range(len(steps))]
    batches: list[list[int]] = []
    room = 0
    for number, step in enumerate(steps):
        if not batches or len(step.state) > room:
            batches.append([])
            room = config.batch
        batches[-1].append(number)
        room -= len(step.state)
    return batches


def recorded_velocities(
    policy: VideoPolicy, steps: Sequence[RecordedStep], config: SamplerConfig
) -> list[Float[Tensor, "#G C L h w"]]:
    """Velocity of each recorded step's state under the policy's present weights, in one batch."""
    states = torch.cat([step.state for step in steps])
    text = torch.cat([step.embeddings.expand(len(step.state), -1, -1) for step in steps])
    sigmas = [config.sigmas[step.step_index] for step in steps for _ in step.state]
    # one number where it is one: the call is then the rollout's own
    sigma = sigmas[0] if len(set(sigmas)) == 1 else torch.tensor(sigmas, device=states.device)
    velocity = _chunked_velocity(policy, states, sigma, text, config.batch)
    return list(velocity.split([len(step.state) for step in steps]))


def replay(policy: VideoPolicy, steps: Sequence[RecordedStep], *, config: SamplerConfig) -> list[ReplayedStep]:
    """Score recorded steps again, with gradient, in one forward.

    A state that the group shares is one latent, else there are G. `config` must be the rollout's.
    """
    replayed = []
    for step, velocity in zip(steps, recorded_velocities(policy, steps, config), strict=True):
        sigma, sigma_next = config.sigmas[step.step_index], config.sigmas[step.step_index + 1]
        next_state = step.rollout.next_states[step.position]
        old_velocity = step.rollout.old_velocities[step.position]
        scored = kernels.step(config.transition, step.state, velocity, sigma, sigma_next, next_x=next_state)
        old_mean = kernels.mean(config.transition, step.state, old_velocity, sigma, sigma_next)
        log_ratio = kernels.log_ratio(scored.mean, old_mean, next_state, scored.std)
        replayed.append(ReplayedStep(velocity, scored.log_prob, log_ratio))
    return replayed


def replay_step(
    policy: VideoPolicy, rollout: Rollout, position: int, embeddings: Float[Tensor, "1 S D"], *, config: SamplerConfig
) -> ReplayedStep:
    """`replay` of one step."""
    return replay(policy, [RecordedStep(rollout, position, embeddings)], config=config)[0]


@dataclass(kw_only=True, slots=True)
class _Group:
    """A group on its way down; `latents` has one row until members differ."""

    request: GroupRequest
    latents: Tensor
    states: list[Tensor] = field(default_factory=list)
    next_states: list[Tensor] = field(default_factory=list)
    old_velocities: list[Tensor] = field(default_factory=list)

    @classmethod
    def begin(cls, request: GroupRequest, config: SamplerConfig) -> "_Group":
        latents = request.start.float()
        if not config.share_prefix:
            latents = latents.expand(len(request.seeds), -1, -1, -1, -1)
        return cls(request=request, latents=latents)

    def branch(self, velocity: Tensor, index: int, transition: KernelConfig, sigma: float, sigma_next: float) -> None:
        """Take the SDE step `index`."""
        noise = _sde_noise(self.latents, self.request.seeds, index)
        taken = kernels.step(transition, self.latents, velocity, sigma, sigma_next, noise=noise)
        self.states.append(self.latents)
        self.old_velocities.append(velocity)
        self.next_states.append(taken.next_x)
        self.latents = taken.next_x

    def finish(self, policy_version: int) -> Rollout:
        return Rollout(
            prompt=self.request.prompt,
            trajectory=self.request.trajectory,
            seeds=self.request.seeds,
            policy_version=policy_version,
            step_indices=self.request.step_indices,
            states=tuple(self.states),
            next_states=tuple(self.next_states),
            old_velocities=tuple(self.old_velocities),
            latents=self.latents,
        )


def _sde_noise(latents: Tensor, seeds: Sequence[int], index: int) -> Tensor:
    """Every member's noise at one step, [G, C, L, h, w] on the device of `latents`, sent there in one piece."""
    shape = latents.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=make_generator(seed, "sde", index)) for seed in seeds])
    return noise.to(latents.device)


def _euler_together(groups: Sequence[tuple[_Group, Tensor]], sigma: float, sigma_next: float) -> None:
    """The deterministic step of groups with their velocities: one for all, since it is the same for every number."""
    if not groups:
        return
    latents, velocities = torch.cat([g.latents for g, _ in groups]), torch.cat([v for _, v in groups])
    moved = kernels.euler(latents, velocities, sigma, sigma_next)
    for (group, _), rows in zip(groups, moved.split([len(g.latents) for g, _ in groups]), strict=True):
        group.latents = rows


def _velocities(
    policy: VideoPolicy, groups: Sequence[_Group], index: int, config: SamplerConfig, ode_policy: VideoPolicy | None
) -> list[Tensor]:
    """Every group's velocity at step `index`."""
    sigma, found = config.sigmas[index], {}
    at_step = [number for number, group in enumerate(groups) if index in group.request.step_indices]
    straight = [number for number, group in enumerate(groups) if index not in group.request.step_indices]
    if config.exact_replay:
        forwards = [*((policy, [number]) for number in at_step), (ode_policy or policy, straight)]
    elif ode_policy is not None:
        forwards = [(policy, at_step), (ode_policy, straight)]
    else:
        forwards = [(policy, list(range(len(groups))))]
    for network, numbers in forwards:
        if not numbers:
            continue
        some = [groups[number] for number in numbers]
        latents = torch.cat([g.latents for g in some])
        embeddings = torch.cat([g.request.embeddings.expand(len(g.latents), -1, -1) for g in some])
        velocity = _chunked_velocity(network, latents, sigma, embeddings, config.batch)
        found |= zip(numbers, velocity.split([len(g.latents) for g in some]), strict=True)
    return [found[number] for number in range(len(groups))]


def _chunked_velocity(
    policy: VideoPolicy, latents: Tensor, sigma: float | Tensor, embeddings: Tensor, batch: int
) -> Tensor:
    sigmas = sigma.split(batch) if isinstance(sigma, Tensor) else repeat(sigma)
    chunks = zip(latents.split(batch), sigmas, embeddings.split(batch), strict=False)
    return torch.cat([policy.velocity(x, s, text).float() for x, s, text in chunks])
