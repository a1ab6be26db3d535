"""A row of metrics.jsonl: quantiles and counts by hand, what is a timing, and the names that nobody else may take."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainer import FAULT, NOT_FINITE, REJECTED, Make

from worldr1.rewards.own import is_reserved
from worldr1.rollout.collector import collect
from worldr1.train.metrics import UpdateMeter, is_timing, parameter_hash, scored_metrics, untimed
from worldr1.types import Prompt, RewardResult, Rollout

ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"


def rollout(num_members: int, *step_indices: int) -> Rollout:
    shape = (1, 1, 1, 1)
    return Rollout(
        prompt=Prompt(id=0, text="A ball."),
        trajectory=None,
        latents=torch.zeros(num_members, *shape),
        step_indices=step_indices,
        states=(),
        next_states=(),
        old_velocities=(),
        seeds=tuple(range(num_members)),
        policy_version=0,
    )


def paid(value: float) -> RewardResult:
    return RewardResult(value=value, parts={"look": value}, measures={"size": 10 * value})


def test_quantiles_and_counts_by_hand() -> None:
    first = [paid(0.0), paid(1.0), paid(2.0), REJECTED]
    second = [paid(4.0), FAULT, FAULT, NOT_FINITE]  # one valid member: a group that the loss cannot use
    groups = collect([rollout(4, 3, 5), rollout(4, 2)], [first, second], std_floor=0.01)
    found = scored_metrics(groups)
    # valid: 0, 0 (rejected), 1, 2, 4; linear between ranks
    assert [found[f"look_{q}"] for q in ("p05", "p50", "p95")] == pytest.approx([0.0, 1.0, 3.6])
    assert [found[f"reward_{q}"] for q in ("p05", "p50", "p95")] == pytest.approx([0.0, 1.0, 3.6])
    assert found["size"] == pytest.approx((0 + 10 + 20 + 40) / 4)
    counts = {name: found[name] for name in ("videos", "faults", "invalid", "rejected", "masked")}
    assert counts == {"videos": 8, "faults": 2, "invalid": 1, "rejected": 1, "masked": 4}
    assert found["first_sde_step"] == 2.5


def test_without_a_valid_member_there_are_counts_and_no_quantiles() -> None:
    found = scored_metrics(collect([rollout(2)], [[FAULT, FAULT]], std_floor=0.01))
    assert found["masked"] == found["faults"] == 2
    assert not [name for name in found if re.search(r"_p\d\d$", name) or name == "first_sde_step"]


def test_two_runs_of_one_seed_differ_in_their_timings_alone(make: Make) -> None:
    one, two = make(), make()
    pairs = [(one.update(), two.update()) for _ in range(2)]
    for a, b in pairs:
        assert untimed(a) == untimed(b)
        timings = a.keys() - untimed(a).keys()
        stages = {"rollout", "decode", "reward", "step", "optimizer", "hash"}
        parts = {f"seconds_{stage}" for stage in stages}
        assert timings == {"seconds", "seconds_reward_wait"} | parts  # on a CPU no memory, and no 0 for it
        assert sum(float(a[name]) for name in parts) <= float(a["seconds"])
        assert all(float(a[name]) > 0 for name in timings)
    assert pairs[0][0]["parameter_hash"] != pairs[1][0]["parameter_hash"]  # it trains


def test_the_hash_is_of_the_trained_parameters_to_the_bit(make: Make) -> None:
    trainer = make()
    row = trainer.update()
    assert row["parameter_hash"] == parameter_hash(trainer.parameters)
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    name = next(iter(before))
    flat = before[name].view(-1)
    flat[0] = torch.nextafter(flat[0], torch.tensor(torch.inf))
    assert parameter_hash(before) != row["parameter_hash"]
    assert re.fullmatch(r"[0-9a-f]{16}", str(row["parameter_hash"]))


def test_stages_add_up_and_are_announced() -> None:
    seen: list[str] = []
    meter = UpdateMeter(torch.device("cpu"), seen.append)
    for name in ("rollout", "reward", "rollout"):
        with meter.stage(name):
            pass
    assert seen == ["rollout", "reward", "rollout"]
    assert meter.measured().keys() == {"seconds", "seconds_rollout", "seconds_reward"}


@pytest.mark.parametrize("name", ["seconds", "seconds_reward", "memory_peak_gib", "mfu", "mfu_rollout"])
def test_measurements_of_the_machine_are_timings(name: str) -> None:
    assert is_timing(name) and is_reserved(name)


@pytest.mark.parametrize("name", ["reward", "reward_p50", "skipped", "parameter_hash", "kl", "update", "median_depth"])
def test_results_are_not(name: str) -> None:
    assert not is_timing(name)


def test_every_field_is_documented_and_no_reward_of_ones_own_may_take_its_name(make: Make) -> None:
    row: dict[str, Any] = make().update()
    text = ARCHITECTURE.read_text(encoding="utf-8")
    table = text[text.index("### metrics.jsonl") : text.index("### judge.jsonl")]
    documented = set(re.findall(r"`([a-z0-9_]+)`", table))
    own = {"look", "doubled"}  # the fake reward's part and measure
    for name in row.keys() - own:
        generic = re.sub(r"^look_", "reward_", name)
        assert generic in documented, name
        assert is_reserved(name), name
