"""A plan as a whole: what must hold between recipes, cards and times, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldr1.build import load_experiment
from worldr1.errors import InputError
from worldr1.planning.cards import CARDS, find_card, needed_gib, recognise
from worldr1.planning.memory import DECODE, REWARD, ROLLOUT, STEP, TEXT
from worldr1.planning.plan import Plan, make_plan
from worldr1.rewards.profiles import PROFILES


def plan(*words: str, recipe: str = "world-r1-small", gpu: str = "h200", gpus: int = 1, hours: float = 24.0) -> Plan:
    """Of a packaged recipe with some `--set` words."""
    return make_plan(recipe, load_experiment(recipe, words), CARDS[gpu], gpus=gpus, hours=hours)


MODELS, MODES = st.sampled_from(["wan2.1-1.3b", "wan2.1-14b"]), st.sampled_from(["true", "false", "auto"])
FRAMES, SIDES = st.integers(0, 30), st.integers(8, 64)


@settings(max_examples=25)
@given(model=MODELS, mode=MODES, gpu=st.sampled_from(list(CARDS)), frames=FRAMES, height=SIDES, width=SIDES)
def test_longer_and_larger_videos_never_need_less(
    model: str, mode: str, gpu: str, frames: int, height: int, width: int
) -> None:
    """Where an auto key decides otherwise from some size on, memory may fall: those are set here, or left out."""
    keys = (f"model.folder={model}", f"model.gradient_checkpointing={mode}")
    keys = (*keys, "model.decode=whole", "model.guidance_batch=separate")
    base = plan(*keys, *_clip(frames, height, width), gpu=gpu)
    for larger in ((frames + 1, height, width), (frames, 2 * height, 2 * width)):
        other = plan(*keys, *_clip(*larger), gpu=gpu)
        stages = [stage for stage in base.memory.stages if not (mode == "auto" and stage == STEP)]
        assert all(other.memory.stages[stage] >= base.memory.stages[stage] for stage in stages)
        assert other.memory.step_without_checkpointing > base.memory.step_without_checkpointing
        assert other.memory.step_with_checkpointing > base.memory.step_with_checkpointing
        assert other.seconds.update > base.seconds.update
        assert (other.updates, other.samples) <= (base.updates, base.samples)


def _clip(frames: int, height: int, width: int) -> tuple[str, ...]:
    return (f"clip.frames={4 * frames + 1}", f"clip.height={16 * height}", f"clip.width={16 * width}")


def test_checkpointing_trades_seconds_for_memory() -> None:
    on, off = (plan(f"model.gradient_checkpointing={value}", "model.guidance=1") for value in ("true", "false"))
    assert on.memory.stages[STEP] < off.memory.stages[STEP] / 5
    assert on.per_call["trained"] == pytest.approx(off.per_call["trained"] * 1.32, rel=0.05)  # 2.60 / 1.97 s


def test_auto_keys_are_decided_by_the_card() -> None:
    roomy, tight = plan("model.guidance=1"), plan("model.guidance=1", gpu="h100")
    assert (roomy.memory.checkpointing, tight.memory.checkpointing) == (False, True)
    small = plan("model.decode_dtype=float32", "reward.profile=light", "reward.placement=swap", gpu="rtx4090")
    assert not small.memory.tiled and small.fits
    tiny = make_plan(
        "tiny",
        load_experiment("world-r1-small", ("model.decode_dtype=float32", "reward.placement=remote")),
        find_card("rtx4090", memory_gib=15.6),
        gpus=1,
        hours=1,
    )
    assert tiny.memory.tiled and tiny.fits


def test_guidance_doubles_the_passes_and_what_a_step_keeps() -> None:
    without, with_guidance = plan("model.guidance=1"), plan("model.guidance=5")
    assert with_guidance.per_call["velocity"] == pytest.approx(2 * without.per_call["velocity"])
    kept = [p.memory.step_without_checkpointing for p in (without, with_guidance)]
    assert kept[1] == pytest.approx(2 * kept[0], rel=0.03)
    apart, together = (plan("model.guidance=5", f"model.guidance_batch={m}") for m in ("separate", "joint"))
    assert together.memory.stages[ROLLOUT] > 1.5 * apart.memory.stages[ROLLOUT]
    assert together.per_call["velocity"] == pytest.approx(apart.per_call["velocity"], rel=0.01)


@pytest.mark.parametrize("profile", ["paper", "light"])
def test_the_reward_models_are_counted_where_they_are_placed(profile: str) -> None:
    weights = sum(model.num_bytes for model in PROFILES[profile]) / 2**30  # type: ignore[index]
    resident, swap, remote = (
        plan(f"reward.profile={profile}", f"reward.placement={place}") for place in ("resident", "swap", "remote")
    )
    assert resident.memory.always["reward models"] == pytest.approx(weights)
    assert swap.memory.always["reward models"] == remote.memory.always["reward models"] == 0
    assert remote.memory.stages[REWARD] < resident.memory.stages[REWARD] <= swap.memory.stages[REWARD]
    assert swap.seconds.reward > resident.seconds.reward == remote.seconds.reward
    batched = plan(f"reward.profile={profile}", "reward.placement=swap", "reward.batch=4")
    moving, fewer = (p.seconds.reward - resident.seconds.reward for p in (swap, batched))
    videos = 48 * 8
    assert moving == pytest.approx(videos * weights * 2**30 / 20e9), "for every call"
    assert fewer == pytest.approx(moving / 4)
    without = plan("reward.profile=mini")
    assert without.seconds.reward == 0 and without.memory.always["reward models"] == 0


def test_groups_in_flight_bound_the_memory_and_cost_no_time() -> None:
    one, all_at_once = (plan("model.decode=whole", f"train.groups_in_flight={n}") for n in ("1", "none"))
    assert all_at_once.memory.stages[REWARD] - one.memory.stages[REWARD] > 100  # 376 more videos of 0.36 GiB
    assert all_at_once.seconds == one.seconds
    assert all_at_once.memory.stages[STEP] > one.memory.stages[STEP]  # its records stay on the GPU


def test_evaluations_judge_a_batch_at_a_time() -> None:
    """32 videos instead of the 8 of a group in flight: 24 more of 0.36 GiB, decoded and judged."""
    usual, large = plan(), plan("train.decode_batch=32")
    for stage in (DECODE, REWARD):
        assert large.memory.stages[stage] - usual.memory.stages[stage] > 8
    assert large.memory.stages[ROLLOUT] == usual.memory.stages[ROLLOUT]


def test_gpus_share_the_groups_and_hours_buy_updates() -> None:
    one, many = plan("train.updates=100000"), plan("train.updates=100000", gpus=48)
    assert one.seconds.update == pytest.approx(48 * many.seconds.update, rel=1e-6)
    assert 40 * one.updates < many.updates
    assert plan("train.updates=100000", gpus=48, hours=48.0).updates >= 2 * many.updates
    assert plan(hours=0.01).updates == 0
    capped = plan("train.updates=7", gpus=48)
    assert (capped.updates, capped.samples) == (7, 7 * 48 * 8)


def test_seconds_are_calls_times_what_an_update_does() -> None:
    """Of 48 groups of 8 videos, on two GPUs: 24 groups each, in whatever flights; scored six videos a call."""
    found = plan("train.groups_in_flight=8", "reward.placement=swap", "reward.batch=6", gpus=2)
    seconds, calls, videos = found.seconds, found.per_call, 24 * 8
    sampled = sum(k + 1 + 8 * (19 - k) for k in range(2, 10)) / 8
    swapping = 24 * 8 / 6 * sum(model.num_bytes for model in PROFILES["paper"]) / 20e9
    assert seconds.rollout == pytest.approx(24 * sampled * calls["velocity"])
    assert seconds.decode == pytest.approx(videos * calls["decode"])
    assert seconds.reward == pytest.approx(videos * calls["reward"] + swapping)
    assert seconds.step == pytest.approx(24 * (calls["trained"] + calls["reference"]))
    assert seconds.update == sum((seconds.rollout, seconds.decode, seconds.reward, seconds.step))
    assert calls["reference"] < calls["velocity"] < calls["trained"]
    assert plan("objective.kl_beta=0").seconds.step == pytest.approx(48 * plan().per_call["trained"])


def test_a_rounded_network_saves_the_adapter_s_time_in_ode_steps_and_costs_its_weights() -> None:
    exact, rounded = plan(), plan("sampler.ode_dtype=bfloat16")
    calls = rounded.per_call
    assert calls["rounded"] == calls["reference"] < calls["velocity"]  # the base is in bfloat16
    sde = 48 * calls["velocity"]
    ode_steps = exact.seconds.rollout / calls["velocity"] - 48
    assert rounded.seconds.rollout == pytest.approx(sde + ode_steps * calls["rounded"])
    extra = rounded.memory.peak - exact.memory.peak
    assert extra == pytest.approx(exact.memory.always["transformer"], rel=0.01)


def test_updates_are_what_the_time_or_the_recipe_allows() -> None:
    found = plan("train.updates=100000", hours=100.0)
    left = 100 * 3600 - found.start_s - found.evaluations_s
    assert found.updates == int(left / found.seconds.update) > 30
    minutes = 3.5 * found.seconds.update / 60
    assert plan(f"train.max_minutes={minutes}", hours=100.0).updates == 4  # the fourth update uses it up


def test_the_text_encoder_is_there_only_while_it_is_needed() -> None:
    free, resident = plan(), plan("model.text_encoder=resident")
    assert free.memory.stages[TEXT] == resident.memory.always["text encoder"] == pytest.approx(10.58, abs=0.01)
    assert TEXT not in resident.memory.stages and "text encoder" not in free.memory.always


def test_day_recipes_hold_what_they_promise() -> None:
    """150 updates, one cycle of both phases, in 24 hours even if everything takes 15 % longer; memory too."""
    for recipe, gpu, gpus in (
        ("small-1gpu-day", "h100", 1),
        ("small-8gpu-day", "h100", 8),
        ("small-24gb", "rtx4090", 1),
    ):
        found = plan(recipe=recipe, gpu=gpu, gpus=gpus)
        assert found.updates == found.updates_asked == 150
        assert 1.15 * (found.start_s + found.evaluations_s + 150 * found.seconds.update) < 24 * 3600
        assert needed_gib(1.15 * found.memory.peak) < found.card.memory_gib


def test_a_folder_is_planned_like_the_model_it_holds(tiny_wan_folder: Path) -> None:
    found = plan(f"model.folder={tiny_wan_folder}", "clip.frames=17", "clip.height=64", "clip.width=96")
    weights = (tiny_wan_folder / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert 0.4 * weights < found.memory.always["transformer"] * 2**30 < weights  # the file is float32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.folder=cogvideox1.5-5b",), "only generates"),
        (("model.folder=no/such/folder",), "plan finds no model no/such/folder: set model.folder to wan2.1-1.3b"),
        (("clip.frames=80",), r"frames 4 k \+ 1"),
        (("clip.width=840",), "multiples of 16"),
        (("lora.targets=['no_layer']",), "none of lora.targets"),
        (("model.attention=math",), 'cudnn, flash, flash3; those of "math"'),
        (("model.attention=flash3", "model.dtype=float32"), "needs a Hopper card .h200, h100. and bfloat16"),
        (("train.trainable=full", "model.dtype=float32"), "train a LoRA"),
    ],
)
def test_what_plan_does_not_know_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(*words)


def test_damaged_folders_and_other_models_are_refused(tiny_wan_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_wan_folder, tmp_path, dirs_exist_ok=True)
    described = tmp_path / "transformer" / "config.json"
    config = json.loads(described.read_text())
    described.unlink()
    with pytest.raises(InputError, match=r"transformer/config\.json cannot be read"):
        plan(f"model.folder={tmp_path}")
    described.write_text(json.dumps(config | {"_class_name": "Other"}))
    with pytest.raises(InputError, match="holds Other, not a WanTransformer3DModel"):
        plan(f"model.folder={tmp_path}")


def test_impossible_numbers_are_refused() -> None:
    for numbers in ({"gpus": 0}, {"hours": 0.0}, {"hours": float("nan")}, {"hours": float("inf")}):
        with pytest.raises(InputError, match="at least one GPU and a positive time"):
            plan(**numbers)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"knows no GPU 'h300': choose one of h200"):
        find_card("h300")
    for memory in (0.0, float("inf")):
        with pytest.raises(InputError, match=f"--memory is {memory:g}"):
            find_card("h100", memory_gib=memory)
    assert find_card("h100", memory_gib=40.0).memory_gib == 40.0


@pytest.mark.parametrize(
    ("driver", "card"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA RTX 6000 Ada Generation", None),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", None),
    ],
)
def test_cards_are_recognised_by_their_drivers_names(driver: str, card: str | None) -> None:
    assert recognise(driver) == card
