"""What is to do for which claims, in which order, and what of it a folder has already."""

from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import write_judging, write_run

from worldr1.build import load_experiment
from worldr1.errors import InputError
from worldr1.reproduce.claims import CLAIMS
from worldr1.reproduce.evidence import FILES
from worldr1.reproduce.job import Job, State
from worldr1.reproduce.jobs import Jobs
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.needs import needed
from worldr1.reproduce.plan import Plan
from worldr1.reproduce.prices import H200
from worldr1.reproduce.runs import RunState, is_shorter, look
from worldr1.reproduce.variants import VARIANTS, Length

FULL, HALF = VARIANTS["full"], VARIANTS["half"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def make(layout: Layout, *claims: str, seeds: int = 1, plan: Plan | None = None) -> Jobs:
    return Jobs(layout=layout, plan=plan or Plan.make("cuda"), prices=H200, needed=needed(claims, seeds))


def named(jobs: Jobs, name: str) -> Job:
    return next(job for job in jobs.all() if job.name == name)


def with_run(jobs: Jobs, variant: str, seed: int) -> Path:
    return write_run(jobs.layout.run(VARIANTS[variant], seed), jobs.recipe(VARIANTS[variant], seed))


def test_every_claim_that_can_be_tested_has_something_to_do() -> None:
    for name, claim in CLAIMS.items():
        assert claim.variants or claim.files or name == "rollouts", name
    assert set(needed(CLAIMS, 1).seeds) == VARIANTS.keys()  # nothing is defined that no claim would train
    assert needed(CLAIMS, 1).measurements == tuple(FILES)


def test_an_unknown_claim_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no claim 'no-phas'; did you mean 'no-phase'"):
        needed(["no-phas"], 3)
    with pytest.raises(InputError, match="the claims are main-gain, camera-control, "):
        needed(["zzz"], 3)


def test_claims_share_runs_and_a_control_comes_before_what_is_compared_with_it() -> None:
    found = needed(["no-meta", "main-gain", "no-gen", "camera-control"], 2)
    assert found.seeds == {"half": 2, "no-meta": 2, "full": 2, "no-gen": 2}
    assert found.measurements == ()
    assert needed(["longer-larger"], 1).measurements == ("longer", "larger")


def test_an_indicative_variant_has_one_run_and_its_control_all() -> None:
    assert needed(["prefix"], 3).seeds == {"half": 3, "no-prefix": 1}
    assert needed(["prefix"], 1).seeds == {"half": 1, "no-prefix": 1}


def test_seed_0_of_everything_comes_first_each_run_judged_at_once(layout: Layout) -> None:
    names = [job.name for job in make(layout, "no-gen", "main-gain", seeds=2).all()]
    first = [
        line
        for variant in ("half", "no-gen", "full")
        for line in (f"train {variant}, seed 0", f"judge {variant}, seed 0", f"films of {variant}")
    ]
    second = [
        line
        for variant in ("half", "no-gen", "full")
        for line in (f"train {variant}, seed 1", f"judge {variant}, seeds 0 to 1")
    ]
    assert names == [*first, *second]


def test_what_waits_says_for_which_earlier_job(layout: Layout) -> None:
    jobs = make(layout, *CLAIMS, seeds=2).all()
    for number, job in enumerate(jobs):
        waits = job.state() is State.WAITING
        assert waits == bool(job.after), job.name
        assert not waits or job.after in {earlier.name for earlier in jobs[:number]}, job.name


def test_measurements_follow_the_full_runs_and_need_no_run_where_they_need_none(layout: Layout) -> None:
    jobs = make(layout, "longer-larger", "inference-cost")
    assert [job.name for job in jobs.all()] == [
        "inference cost of base, LoRA and merged LoRA",
        "train full, seed 0",
        "judge full, seed 0",
        "films of full",
        "judge full on longer clips",
        "judge full on larger clips",
    ]
    assert [job.state() for job in jobs.all()] == [State.READY, State.READY, *[State.WAITING] * 4]
    with_run(jobs, "full", 0)
    assert [job.state() for job in jobs.all()] == [State.READY, State.DONE, *[State.READY] * 4]
    words = named(jobs, "judge full on larger clips").command()
    assert words[words.index("--height") : words.index("--height") + 4] == ["--height", "96", "--width", "144"]
    assert "--frames" not in words and words[words.index("--stream") + 1] == "ablation"
    for clip in ([17, 96, 144], [17, 64, 96]):
        out, run = layout.root / "measured" / "larger", layout.run(FULL, 0)
        write_judging(out, [run], stream="ablation", num_prompts=192, clip=clip)
        expected = State.DONE if clip == [17, 96, 144] else State.READY
        assert named(jobs, "judge full on larger clips").state() is expected


def test_a_variant_is_judged_with_all_its_finished_seeds_and_again_when_more_come(layout: Layout) -> None:
    jobs = make(layout, "main-gain", seeds=3)
    first, third = named(jobs, "judge full, seed 0"), named(jobs, "judge full, seeds 0 to 2")
    runs = [with_run(jobs, "full", 0)]
    write_judging(layout.judged(FULL), runs, stream="final", num_prompts=597)
    assert (first.state(), third.state()) == (State.DONE, State.WAITING)
    runs.append(with_run(jobs, "full", 2))  # the second is not there: it failed, say
    assert (first.state(), third.state()) == (State.DONE, State.READY)
    words = third.command()
    begin = words.index("--run")
    assert words[begin + 1 : begin + 4] == [*map(str, runs), "--stream"]
    assert words[words.index("--prompts") + 1] == "450" and words[words.index("--dynamic-prompts") + 1] == "150"
    assert words[words.index("--reuse") + 1] == str(layout.judged(FULL))
    write_judging(layout.judged(FULL), runs, stream="final", num_prompts=597)
    assert (first.state(), third.state()) == (State.DONE, State.DONE)


def test_a_judging_is_priced_by_the_sides_that_nobody_has_filmed(layout: Layout) -> None:
    jobs = make(layout, "no-gen", "no-transport", "longer-larger", seeds=2)
    about = {"stream": "ablation", "num_prompts": 192}

    def sides(name: str) -> float:
        job = named(jobs, name)
        size = 33 / 17 if "longer" in name else 1.0
        return (60 * job.minutes() - H200.start_s) / (192 * H200.judged_video_s * size)

    assert sides("judge no-gen, seed 0") == pytest.approx(3)
    half = [with_run(jobs, "half", seed) for seed in (0, 1)]
    assert sides("judge half, seed 0") == pytest.approx(4), "both runs that are finished"
    write_judging(layout.judged(HALF), half[:1], **about)
    assert sides("judge half, seeds 0 to 1") == pytest.approx(1)
    assert sides("judge no-gen, seed 0") == pytest.approx(1), "base and truth are taken over from the control's"
    train = named(jobs, "train no-gen, seed 0")
    assert train.then_minutes() == named(jobs, "judge no-gen, seed 0").minutes()
    assert sides("judge no-transport, seed 0") == pytest.approx(3), "its base films other noise"
    assert sides("judge full on longer clips") == pytest.approx(3), "of another size"
    write_judging(layout.judged(HALF), half[:1], stream="test", num_prompts=192)
    assert sides("judge no-gen, seed 0") == pytest.approx(3), "of another list"


def test_another_list_of_prompts_or_too_few_of_them_is_no_judging(layout: Layout) -> None:
    jobs = make(layout, "main-gain")
    job, run = named(jobs, "judge full, seed 0"), with_run(jobs, "full", 0)
    for stream, num, expected in (("final", 600, State.DONE), ("test", 600, State.READY), ("final", 9, State.READY)):
        write_judging(layout.judged(FULL), [run], stream=stream, num_prompts=num)
        assert job.state() is expected
    (layout.judged(FULL) / "judging.json").write_text('{"adap')
    assert job.state() is State.READY


def test_a_run_is_begun_resumed_and_never_repeated(layout: Layout) -> None:
    jobs = make(layout, "no-gen")
    job, folder = named(jobs, "train no-gen, seed 0"), layout.run(VARIANTS["no-gen"], 0)
    words = job.command()
    assert words[3:5] == ["train", "mini-gpu"] and words[-2:] == ["--out", str(folder)]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert settings == ["device=cuda", "train.updates=100", "train.seed=0", "reward.weights.gen=1e-9"]
    whole = job.minutes()
    write_run(folder, jobs.recipe(VARIANTS["no-gen"], 0), updates=75, finished=False)
    assert job.state() is State.READY and job.command()[3:] == ["train", "--resume", str(folder)]
    assert whole - job.minutes() == pytest.approx(75 * 192 * H200.trained_video_s / 60)
    with_run(jobs, "no-gen", 0)
    assert job.state() is State.DONE


def test_the_published_runs_count_although_minutes_set_their_length(tmp_path: Path) -> None:
    wanted = load_experiment("mini-gpu", Plan.make("cuda").overrides(FULL, 1))
    published = load_experiment("mini-gpu", ("train.updates=100000", "train.max_minutes=4.6", "train.seed=1"))
    for updates, state in ((201, RunState.FINISHED), (202, RunState.FINISHED), (127, RunState.UNUSABLE)):
        assert look(write_run(tmp_path / str(updates), published, updates=updates), wanted).state is state


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("reward.weights.meta=1", "holds another run (reward.weights.meta 1.0 -> 2.0)"),
        ("train.seed=5", "holds another run (train.seed 5 -> 0)"),
        ("train.updates=50", "holds another run (train.updates 50 -> 202)"),
        ("train.keep_last=9", ""),
    ],
)
def test_a_copied_run_of_another_recipe_is_not_counted_nor_overwritten(
    layout: Layout, settings: str, problem: str
) -> None:
    jobs = make(layout, "main-gain")
    other = load_experiment("mini-gpu", (*jobs.plan.overrides(FULL, 0), settings))
    write_run(layout.run(FULL, 0), other)
    job = named(jobs, "train full, seed 0")
    assert job.state() is (State.UNUSABLE if problem else State.DONE)
    assert problem in job.problem()
    assert named(jobs, "judge full, seed 0").state() is (State.WAITING if problem else State.READY)


def test_damage_is_named_and_not_trained_over(layout: Layout) -> None:
    jobs = make(layout, "main-gain")
    folder, job = layout.run(FULL, 0), named(jobs, "train full, seed 0")
    cases = {
        "is damaged": lambda: (folder / "final" / "adapter.safetensors").write_bytes(b"half of it"),
        "line 2 is damaged": lambda: (folder / "metrics.jsonl").write_text('{"update": 0}\nx\n'),
        "1 updates are written down instead of 202": lambda: (folder / "metrics.jsonl").write_text('{"update": 0}\n'),
        "lacks an evaluation": lambda: (folder / "previews" / "after" / "records.json").unlink(),
        "has no recipe.toml": lambda: (folder / "recipe.toml").unlink(),
    }
    for problem, damage in cases.items():
        write_run(folder, jobs.recipe(FULL, 0))
        damage()
        assert job.state() is State.UNUSABLE, problem
        assert problem in job.problem() and str(folder) in job.problem()


def test_a_plan_is_kept_and_another_one_refused(tmp_path: Path) -> None:
    path, plan = tmp_path / "plan.json", Plan.make("cpu", updates=3, settings=("train.group_size=2",), static=4)
    plan.save(path)
    assert Plan.load(path) == plan
    plan.save(path)
    with pytest.raises(InputError, match=r"another plan \(full_updates 3 -> 4\), .* another --out"):
        replace(plan, full_updates=4).save(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="is damaged"):
        Plan.load(path)


@pytest.mark.parametrize(("num", "planned", "shorter"), [(191, 202, True), (192, 202, False), (95, 100, False)])
def test_minutes_leave_a_twentieth_of_a_length_open(num: int, planned: int, shorter: bool) -> None:
    assert is_shorter(num, planned) is shorter


@pytest.mark.parametrize(
    ("text", "option"), [("train.updates=3", "--updates"), ("train.seed = 4", "--seeds"), ("device=cpu", "--device")]
)
def test_what_the_plan_decides_is_no_setting(text: str, option: str) -> None:
    with pytest.raises(InputError, match=f"^--set {text}: use {option}"):
        Plan.make("cpu", settings=(text,))


def test_a_smaller_plan_is_not_the_published_one() -> None:
    assert Plan.make("cuda").is_published
    assert (Plan.make("cuda").updates(FULL), Plan.make("cuda").updates(HALF)) == (202, 100)
    small = Plan.make("cuda", updates=5, dynamic=7)
    assert (small.updates(FULL), small.updates(HALF), small.prompts(FULL), small.prompts(HALF)) == (
        5,
        3,
        (450, 7),
        (144, 7),
    )
    for other in (small, Plan.make("cpu"), Plan.make("cuda", static=1)):
        assert not other.is_published
    for updates, static, dynamic in ((0, 1, 1), (1, 0, 1), (1, 1, -1)):
        with pytest.raises(InputError, match=r"give at least [01]"):
            Plan.make("cpu", updates=updates, static=static, dynamic=dynamic)


def test_the_lengths_of_all_variants_have_an_update_of_both_phases() -> None:
    for length in Length:
        cycle = load_experiment("mini-gpu").phases
        updates = Plan.make("cuda").updates(FULL if length is Length.FULL else HALF)
        assert updates > cycle.main_updates + cycle.dynamic_updates
