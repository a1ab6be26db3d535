"""Rollouts of a tiny random Wan on the CPU in float32: replay to the bit, shared prefix, batching over groups."""

import dataclasses
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from worldr1.diffusion import kernels
from worldr1.errors import ConfigError, InputError
from worldr1.rl.objective import ObjectiveConfig, StepScale, group_loss
from worldr1.rollout.sampler import (
    GroupRequest,
    RecordedStep,
    SamplerConfig,
    draw_step_indices,
    replay,
    replay_batches,
    replay_step,
    sample_group,
    sample_groups,
    sample_ode,
)
from worldr1.types import Prompt

SHAPE = (4, 2, 4, 6)
CONFIG = SamplerConfig(num_steps=8, first_index=1, last_index=5)


class TinyPolicy:
    """The VideoPolicy of a random stock transformer; counts forwards."""

    def __init__(self):
        torch.manual_seed(0)
        self.transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=16,
            ffn_dim=32,
            num_layers=2,
            rope_max_seq_len=32,
        )
        # diffusers initialises the output to almost nothing, which would hide every difference.
        torch.nn.init.normal_(self.transformer.proj_out.weight, std=0.2)
        self.batches: list[int] = []

    def velocity(self, latents, sigma, embeddings):
        self.batches.append(len(latents))
        timestep = (1000 * torch.as_tensor(sigma)).expand(len(latents))
        return self.transformer(latents, timestep, embeddings, return_dict=False)[0]


@pytest.fixture(scope="module")
def shared_policy():
    return TinyPolicy()


@pytest.fixture
def policy(shared_policy):
    shared_policy.batches.clear()
    return shared_policy


def request(indices=(3,), seeds=(11, 12, 13), *, text=0, rows=1):
    g = torch.Generator().manual_seed(text)
    return GroupRequest(
        prompt=Prompt(id=text, text="Camera pushes in. A box."),
        trajectory=None,
        embeddings=torch.randn(1, 5, 8, generator=g),
        start=torch.randn(rows, *SHAPE, generator=g),
        step_indices=indices,
        seeds=seeds,
    )


def roll(policy, asked, config=CONFIG):
    return sample_group(policy, asked, config=config, policy_version=7)


def log_prob_of_rollout(rollout, position, config):
    index = rollout.step_indices[position]
    return kernels.step(
        config.transition,
        rollout.states[position],
        rollout.old_velocities[position],
        config.sigmas[index],
        config.sigmas[index + 1],
        next_x=rollout.next_states[position],
    ).log_prob


def recovered_noise(rollout, position):
    """[G, C, L, h, w]: (next state - mean) / std."""
    index = rollout.step_indices[position]
    sigmas = CONFIG.sigmas[index], CONFIG.sigmas[index + 1]
    mean = kernels.mean(CONFIG.transition, rollout.states[position], rollout.old_velocities[position], *sigmas)
    return (rollout.next_states[position] - mean) / kernels.coefficients(CONFIG.transition, *sigmas).std


@pytest.mark.parametrize("kernel", list(kernels.DEFAULT_LEVELS))
@pytest.mark.parametrize("share", [True, False])
def test_replay_before_the_first_update_is_exact(policy, kernel, share):
    config = dataclasses.replace(CONFIG, kernel=kernel, share_prefix=share, sde_steps=2, batch=2)
    others = [request((2, 3), text=1), request((1, 5), seeds=(1, 2, 3, 4), text=2)]
    rollouts = sample_groups(policy, [*others, request((2, 4))], config=config, policy_version=0)
    for position in (0, 1):
        replayed = replay_step(policy, rollouts[2], position, request().embeddings, config=config)
        assert replayed.velocity.requires_grad
        assert torch.equal(replayed.velocity, rollouts[2].old_velocities[position])
        assert torch.equal(replayed.log_prob, log_prob_of_rollout(rollouts[2], position, config))
        assert torch.equal(replayed.log_ratio.exp(), torch.ones(3))


def test_without_exact_replay_the_ratio_is_one_within_rounding(policy):
    config = dataclasses.replace(CONFIG, exact_replay=False)
    asked = [request((3,), text=t) for t in range(4)]
    rollouts = sample_groups(policy, asked, config=config, policy_version=0)
    assert max(policy.batches) == 12 and len(policy.batches) == 8
    for rollout, wanted in zip(rollouts, asked, strict=True):
        replayed = replay_step(policy, rollout, 0, wanted.embeddings, config=config)
        assert float((replayed.log_ratio.detach().exp() - 1).abs().max()) < 1e-5


@pytest.mark.parametrize("exact", [True, False])
def test_another_network_takes_the_ode_steps_and_leaves_the_replay_as_it_was(policy, exact):
    config = dataclasses.replace(CONFIG, exact_replay=exact)
    asked = [request((index,), text=index) for index in (1, 3)]
    rounded: Any = TinyPolicy()
    rounded.transformer.bfloat16().float()
    rollouts = sample_groups(policy, asked, config=config, policy_version=0, ode_policy=rounded)
    assert (policy.batches, sum(rounded.batches)) == ([1, 1], (1 + 6 * 3) + (3 + 4 * 3))
    precise = sample_groups(policy, asked, config=config, policy_version=0)
    for rollout, other, wanted in zip(rollouts, precise, asked, strict=True):
        replayed = replay_step(policy, rollout, 0, wanted.embeddings, config=config)
        assert float((replayed.log_ratio.detach().exp() - 1).abs().max()) <= (0 if exact else 1e-5)
        size = other.latents.square().mean().sqrt()
        error = (rollout.latents - other.latents).square().mean().sqrt() / size
        assert 1e-4 < error < 0.02  # bfloat16 rounds by 0.4 % at most


def test_shared_prefix_is_the_full_rollout_with_the_same_noise(policy):
    for indices in ((3,), (2, 5)):
        shared = roll(policy, request(indices))
        full = roll(policy, request(indices), dataclasses.replace(CONFIG, share_prefix=False))
        assert shared.states[0].shape[0] == 1 and full.states[0].shape[0] == 3
        torch.testing.assert_close(full.latents, shared.latents, rtol=0, atol=1e-4)
        torch.testing.assert_close(full.next_states, shared.next_states, rtol=0, atol=1e-4)
        assert float((shared.latents[0] - shared.latents[1]).abs().max()) > 0.1


def test_rollout_follows_the_written_out_recursion(policy):
    """Euler, one flow_sde step with the members' own noise, Euler: formulas spelled out here."""
    asked = request((2,), seeds=(5, 6))
    rollout = roll(policy, asked)
    sigmas = CONFIG.sigmas
    x = asked.start
    with torch.no_grad():
        for i in range(8):
            v = policy.velocity(x, sigmas[i], asked.embeddings.expand(len(x), -1, -1))
            s, dt = sigmas[i], sigmas[i + 1] - sigmas[i]
            if i == 2:
                g2 = 0.49 * s / (1 - s)
                mean = x * (1 + g2 * dt / (2 * s)) + v * (1 + g2 * (1 - s) / (2 * s)) * dt
                noise = (rollout.next_states[0] - mean) / (g2 * -dt) ** 0.5
                assert abs(float(noise.std()) - 1) < 0.15 and abs(float(noise.mean())) < 0.2
                x = rollout.next_states[0]
            else:
                x = x + v * dt
    torch.testing.assert_close(rollout.latents, x, rtol=0, atol=1e-4)


def test_prefix_runs_once_and_suffix_per_member(policy):
    roll(policy, request((3,)))
    assert policy.batches == [1, 1, 1, 1, 3, 3, 3, 3]


def test_batch_limits_a_forward(policy):
    roll(policy, request((1,)), dataclasses.replace(CONFIG, batch=2))
    assert policy.batches == [1, 1, *[2, 1] * 6]


def test_groups_together_equal_groups_alone(policy):
    asked = [request((1,), text=1), request((4,), seeds=(1, 2), text=2), request((4, 5), seeds=(3, 4), text=3)]
    together = sample_groups(policy, asked, config=CONFIG, policy_version=7)
    for rollout, wanted in zip(together, asked, strict=True):
        alone = roll(policy, wanted)
        assert (rollout.prompt, rollout.seeds, rollout.policy_version) == (wanted.prompt, wanted.seeds, 7)
        torch.testing.assert_close(rollout.latents, alone.latents, rtol=0, atol=1e-4)
        torch.testing.assert_close(rollout.states, alone.states, rtol=0, atol=1e-4)


def test_a_members_noise_depends_on_its_seed_and_the_step_alone(policy):
    first = roll(policy, request((3,), seeds=(11, 12)))
    second = roll(policy, request((3,), seeds=(99, 11)))
    torch.testing.assert_close(first.next_states[0][0], second.next_states[0][1], rtol=0, atol=1e-5)
    assert float((first.next_states[0][1] - second.next_states[0][0]).abs().max()) > 0.1


def test_every_sde_step_of_a_group_is_recorded(policy):
    rollout = roll(policy, request((1, 3, 5)))
    assert rollout.step_indices == (1, 3, 5)
    assert [len(x) for x in rollout.states] == [1, 3, 3]
    assert [len(x) for x in rollout.old_velocities] == [1, 3, 3]
    assert [len(x) for x in rollout.next_states] == [3, 3, 3]
    noises = torch.stack([recovered_noise(rollout, position) for position in range(3)])
    correlations = torch.corrcoef(noises.flatten(0, 1).flatten(1)) - torch.eye(9)
    assert float(correlations.abs().max()) < 0.3
    assert float(noises.std()) == pytest.approx(1, abs=0.05)


def test_own_start_noises_need_their_own_prefix(policy):
    config = dataclasses.replace(CONFIG, share_prefix=False)
    rollout = roll(policy, request((3,), rows=3), config)
    assert float((rollout.states[0][0] - rollout.states[0][1]).abs().max()) > 0.1
    with pytest.raises(InputError, match="shares its prefix"):
        roll(policy, request((3,), rows=3))


def test_one_forward_per_group_has_the_gradient_of_one_per_member(policy):
    """Replay of a shared step against the same step stored once per member: every weight's gradient."""
    shared = roll(policy, request((3,)))
    repeated = dataclasses.replace(
        shared,
        states=(shared.states[0].expand(3, -1, -1, -1, -1),),
        old_velocities=(shared.old_velocities[0].expand(3, -1, -1, -1, -1),),
    )
    scale = StepScale.of(CONFIG.rectifications[2], CONFIG.rectifications)
    gradients = []
    for rollout in (shared, repeated):
        policy.batches.clear()
        replayed = replay_step(policy, rollout, 0, request().embeddings, config=CONFIG)
        terms = group_loss(
            ObjectiveConfig(kl_beta=0.1),
            replayed.log_ratio,
            replayed.velocity,
            rollout.old_velocities[0] + 0.1,
            advantages=torch.tensor([1.0, -0.4, -0.6]),
            valid=torch.ones(3, dtype=torch.bool),
            scale=scale,
        )
        weights = [p for p in policy.transformer.parameters() if p.requires_grad]
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(terms.loss, weights)]))
    assert policy.batches == [3]
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-5


def test_ode_is_euler_and_a_sure_step_away_from_the_rollout(policy):
    asked = request()
    latents = sample_ode(policy, asked.embeddings.expand(3, -1, -1), asked.start.expand(3, -1, -1, -1, -1), CONFIG)
    x = asked.start
    with torch.no_grad():
        for s, s_next in zip(CONFIG.sigmas, CONFIG.sigmas[1:], strict=False):
            x = x + (s_next - s) * policy.velocity(x, s, asked.embeddings)
    torch.testing.assert_close(latents, x.expand(3, -1, -1, -1, -1), rtol=0, atol=1e-5)
    quiet = roll(policy, asked, dataclasses.replace(CONFIG, kernel="ddim", level=1e-6))
    torch.testing.assert_close(quiet.latents, latents, rtol=0, atol=1e-4)


def test_indices_are_ascending_different_and_uniform():
    config = SamplerConfig(sde_steps=3)
    assert list(config.allowed_indices) == [2, 3, 4, 5, 6, 7, 8, 9]
    g = torch.Generator().manual_seed(0)
    drawn = [draw_step_indices(config, g) for _ in range(800)]
    assert all(list(d) == sorted(set(d)) and len(d) == 3 for d in drawn)
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=20)
    assert counts[:2].sum() == 0 and counts[10:].sum() == 0
    assert int(counts[2:10].min()) > 250 and int(counts[2:10].max()) < 350


def test_all_but_the_last_step_is_flow_grpo():
    config = SamplerConfig(num_steps=5, first_index=0, last_index=3, sde_steps=4)
    assert draw_step_indices(config, torch.Generator().manual_seed(0)) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"last_index": 19}, "num_steps - 2 = 18"),
        ({"num_steps": 4}, "do not fit"),
        ({"first_index": -1}, "do not fit"),
        ({"sde_steps": 9}, "only 8 indices"),
        ({"sde_steps": 0}, "sde_steps is 0"),
        ({"batch": 0}, "batch"),
        ({"level": 0.0}, "raise the level"),
        ({"kernel": "heun"}, "no kernel"),
        ({"kernel": "cps", "level": 2.0}, "from 0 to 1.0"),
    ],
)
def test_impossible_configs_are_refused(keys, words):
    with pytest.raises(ConfigError, match=words):
        SamplerConfig(**keys)


@pytest.mark.parametrize("bad", [{"indices": ()}, {"indices": (7,)}, {"indices": (3, 1)}, {"seeds": (1, 1)}])
def test_impossible_requests_are_refused(policy, bad):
    with pytest.raises(InputError):
        roll(policy, request(**bad))


def test_embeddings_must_fit_together(policy):
    longer = dataclasses.replace(request(), embeddings=torch.zeros(1, 6, 8))
    with pytest.raises(InputError, match="one shape"):
        sample_groups(policy, [request(), longer], config=CONFIG, policy_version=0)
    with pytest.raises(InputError, match="as many embeddings"):
        sample_ode(policy, torch.zeros(2, 5, 8), torch.zeros(1, *SHAPE), CONFIG)


@pytest.mark.parametrize(("share", "batch"), [(True, 64), (False, 4)])
def test_steps_replayed_in_one_batch_score_like_steps_replayed_alone(policy, share, batch):
    config = dataclasses.replace(CONFIG, sde_steps=2, batch=batch, share_prefix=share, exact_replay=False)
    asked = [request(indices, text=text) for text, indices in enumerate([(1, 3), (3, 4), (1, 4), (1, 3)])]
    rollouts = sample_groups(policy, asked, config=config, policy_version=0)
    steps = [
        RecordedStep(rollout, position, one.embeddings)
        for rollout, one in zip(rollouts, asked, strict=True)
        for position in (0, 1)
    ]
    batches = replay_batches(steps, config)
    assert sorted(number for numbers in batches for number in numbers) == list(range(len(steps)))
    assert len(batches) == (1 if share else 8)
    for numbers in batches:
        together = replay(policy, [steps[number] for number in numbers], config=config)
        for number, scored in zip(numbers, together, strict=True):
            step = steps[number]
            alone = replay_step(policy, step.rollout, step.position, step.embeddings, config=config)
            torch.testing.assert_close(scored.velocity, alone.velocity, rtol=0, atol=1e-5)
            torch.testing.assert_close(scored.log_prob, alone.log_prob, rtol=0, atol=1e-5)
            assert scored.log_ratio.abs().max() < 1e-5


def test_exact_replay_forwards_every_step_alone(policy):
    rollouts = sample_groups(policy, [request(), request(text=1)], config=CONFIG, policy_version=0)
    steps = [RecordedStep(rollout, 0, request().embeddings) for rollout in rollouts]
    assert replay_batches(steps, CONFIG) == [[0], [1]]
