"""Fine-tuning on the best of N (rejection sampling, RAFT, arXiv 2304.06767): the baseline without a policy gradient.

A group's members are noise-free samples from start noises of their own, as evaluations make them; of every group the
video with the highest reward is fitted by flow matching. Training noise is what sampling starts from (the camera's own,
`rollout.start_noise`), and training levels are those at which the sampler asks the network.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.protocols import VideoPolicy
from worldr1.rl.best_of_n import FitTerms, best_member, fit_loss
from worldr1.rl.objective import ObjectiveConfig
from worldr1.rollout.collector import GroupBatch
from worldr1.rollout.sampler import GroupRequest, SamplerConfig, sample_ode
from worldr1.seeding import derive_seed, make_generator
from worldr1.train.algorithm import ScoredGroup
from worldr1.train.lora import base_model
from worldr1.types import Rollout, Trajectory

DrawNoise = Callable[[Trajectory | None, Sequence[int]], Float[Tensor, "B C L h w"]]
"""Start noise of a requested path, one latent per seed, on the policy's device."""


class BestOfN:
    """The baseline; an `Algorithm`. With guidance it is the guided velocity that is fitted: the one that samples."""

    def __init__(
        self,
        policy: VideoPolicy,
        sampler: SamplerConfig,
        objective: ObjectiveConfig,
        *,
        draw_noise: DrawNoise,
        base_state: Mapping[str, Tensor] | None,
        ode_policy: VideoPolicy | None = None,
    ) -> None:
        """base_state, ode_policy: as `flow_grpo.FlowGrpo` takes them."""
        self._policy, self._sampler, self._objective = policy, sampler, objective
        self._draw_noise, self._base_state, self._ode_policy = draw_noise, base_state, ode_policy

    def num_starts(self, group_size: int) -> int:
        """One per member: without an SDE step nothing else tells them apart."""
        return group_size

    def draw_steps(self, generator: torch.Generator) -> tuple[int, ...]:
        """None."""
        return ()

    @torch.no_grad()
    def roll_out(self, requests: Sequence[GroupRequest], *, policy_version: int) -> list[Rollout]:
        """Noise-free samples; nothing of the way to them is recorded."""
        start = torch.cat([request.start for request in requests])
        text = torch.cat([request.embeddings.expand(len(request.start), -1, -1) for request in requests])
        policy = self._ode_policy or self._policy
        latents = sample_ode(policy, text, start, self._sampler).split([len(r.start) for r in requests])
        return [
            Rollout(
                prompt=request.prompt,
                trajectory=request.trajectory,
                seeds=request.seeds,
                policy_version=policy_version,
                step_indices=(),
                states=(),
                next_states=(),
                old_velocities=(),
                latents=members,
            )
            for request, members in zip(requests, latents, strict=True)
        ]

    def trained_rows(self, num_groups: int, group_size: int) -> int:
        """Examples in one chunk; a group trains on one video, whatever its size."""
        return min(self._sampler.batch, num_groups * self._objective.draws)

    def backward(
        self, groups: Sequence[ScoredGroup], *, epoch: int, num_groups: int, idle: Sequence[ScoredGroup] = ()
    ) -> list[dict[str, float]]:
        """Of the mean loss over the groups' best videos and `draws` fresh noises and levels for each.

        A row per best video and per chunk of examples. Raises ValueError for idle groups: not with a sharded base.
        """
        if idle:
            raise ValueError("best-of-n passes no idle groups through")
        if not groups:
            return []
        best = [_best(group.batch) for group in groups]
        examples = [self._examples(group, member, epoch) for group, member in zip(groups, best, strict=True)]
        stacked = _Examples(*(torch.cat(parts) for parts in zip(*examples, strict=True)))
        rows = [{"reward_best": group.batch.rewards[member].value} for group, member in zip(groups, best, strict=True)]
        for chunk in zip(*(part.split(self._sampler.batch) for part in stacked), strict=True):
            found, share = self._fit(_Examples(*chunk)), len(chunk[0]) / (num_groups * self._objective.draws)
            (share * found.loss).backward()
            row = {"share": share, "loss": float(found.loss.detach()), "flow_matching": found.flow_matching}
            if found.gap is not None:
                row |= {"gap": found.gap, "num_dims": float(stacked.clean[0].numel())}
            rows.append(row)
        return rows

    def summarise(self, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Means over best videos and over examples."""
        chunks = [row for row in rows if "share" in row]
        metrics = {
            "reward_best": fmean(row["reward_best"] for row in rows if "reward_best" in row),
            "loss": sum(row["share"] * row["loss"] for row in chunks),
            "flow_matching": sum(row["share"] * row["flow_matching"] for row in chunks),
        }
        return metrics | self._kl(chunks)

    def _examples(self, group: ScoredGroup, member: int, epoch: int) -> "_Examples":
        """`draws` of the member's video, seeded by the member."""
        rollout, draws = group.batch.rollout, self._objective.draws
        seed = rollout.seeds[member]
        noise = self._draw_noise(rollout.trajectory, [derive_seed(seed, "fit-noise", epoch, i) for i in range(draws)])
        steps = torch.randint(self._sampler.num_steps, (draws,), generator=make_generator(seed, "fit-level", epoch))
        return _Examples(
            clean=rollout.latents[member].to(noise.device).expand_as(noise),
            noise=noise,
            sigmas=torch.tensor(self._sampler.sigmas)[steps].to(noise),
            embeddings=group.embeddings.expand(draws, -1, -1),
        )

    def _fit(self, examples: "_Examples") -> FitTerms:
        clean, noise, sigmas, embeddings = examples
        level = sigmas[:, None, None, None, None]
        noised = (1 - level) * clean + level * noise
        reference = None
        if self._objective.kl_beta > 0:
            with torch.no_grad(), base_model(self._policy.transformer, self._base_state):
                reference = self._policy.velocity(noised, sigmas, embeddings).float()
        velocity = self._policy.velocity(noised, sigmas, embeddings).float()
        return fit_loss(velocity, reference, clean=clean, noise=noise, kl_beta=self._objective.kl_beta)

    def _kl(self, chunks: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """In Flow-GRPO's unit, nats of a transition of the recipe's kernel, but at noised best videos of all levels."""
        gaps = [row["share"] * row["gap"] for row in chunks if "gap" in row]
        if not gaps:
            return {}
        kl = sum(gaps) * 0.5 * fmean(r**-2 for r in self._sampler.rectifications)
        return {"kl": kl, "kl_sum": kl * chunks[0]["num_dims"]}


class _Examples(NamedTuple):
    """What flow matching is shown: E rows."""

    clean: Float[Tensor, "E C L h w"]
    noise: Float[Tensor, "E C L h w"]
    sigmas: Float[Tensor, " E"]
    embeddings: Float[Tensor, "E S D"]


def _best(batch: GroupBatch) -> int:
    member = best_member(batch.rewards)
    if member is None:
        raise ValueError("a kept group has valid members")
    return member
