"""`worldr1 study new`: chooses pairs of two evaluations, hides who made what, and writes the study's folder."""

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1 import __version__
from worldr1.camera.motion import scene_text
from worldr1.errors import InputError, PromptError
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.records import VideoRecord
from worldr1.seeding import derive_seed, make_generator
from worldr1.study.design import VIDEOS, Pair, Rules, Study
from worldr1.study.key import DESTROYED, REAL, SAME, Key, PairKey, write_key
from worldr1.study.questions import QUESTIONS, camera_words
from worldr1.study.votes import TOKENS_FILE, VOTES_FILE, VoteStore
from worldr1.types import Status
from worldr1.video_io import read_mp4, video_facts, write_mp4

NAME_BYTES = 16
"""128 random bits in the name of a video."""
NOISE = 0.3
"""Standard deviation, of 0..1, of what destroys a video beside the wrong order of its frames."""
MAX_FPS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlan:
    """What `new_study` is asked for."""

    pairs: int = 30
    checks: int = 3
    participants: int = 25
    questions: tuple[str, ...] = tuple(QUESTIONS)
    title: str = "Comparing videos"
    seed: int | None = None
    """Of the chosen pairs, their order and sides; None draws one that nobody knows."""

    def __post_init__(self) -> None:
        """Raises InputError for numbers that make no study."""
        if self.pairs < 1 or self.participants < 1 or self.checks < 0:
            raise InputError("--pairs and --participants are at least 1, --checks at least 0.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A prompt and sample of which both evaluations kept a video."""

    a: VideoRecord
    b: VideoRecord
    files: tuple[Path, Path]


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A study that `new_study` wrote."""

    study: Study
    notes: tuple[str, ...]
    """What participants may tell the models apart by, and what was left out."""


@dataclass(frozen=True, slots=True)
class _Clip:
    """A video that was written under a random name."""

    name: str
    shape: tuple[int, int, int]
    """Frames, height, width."""
    fps: int

    @property
    def ms(self) -> int:
        return round(1000 * self.shape[0] / self.fps)


def new_study(
    a: Path,
    b: Path,
    out: Path,
    plan: StudyPlan,
    *,
    progress: Callable[[Sequence[int]], Iterable[int]] = lambda work: work,
) -> Made:
    """Writes a study of evaluation folders `a` and `b` into the new folder `out`.

    Videos are decoded and encoded again by one encoder with one setting, without tags and with one file time, so that
    nothing but their pictures can tell who made them. progress: wraps the sequence of pairs, for a progress bar.
    Raises InputError if `out` is a file or has something in it, if the evaluations are not of the same suite, or for
    too few pairs.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; give another --out.")
    folders = EvaluationFolder.load(a), EvaluationFolder.load(b)
    candidates = _candidates(*folders)
    seed = secrets.randbits(63) if plan.seed is None else plan.seed
    chosen, spare = _stratified(candidates, plan.pairs, seed=seed)
    if len(chosen) < plan.pairs:
        raise InputError(
            f"{a} and {b} both have a video of {len(chosen)} prompts, not {plan.pairs}: lower --pairs or evaluate more."
        )
    sources = (spare or chosen)[: plan.checks]
    kinds = [REAL] * len(chosen) + [DESTROYED if i % 3 else SAME for i in range(plan.checks)]
    sources = chosen + [sources[i % len(sources)] for i in range(plan.checks)]
    generator = make_generator(seed, "study", 1)
    order: list[int] = torch.randperm(len(sources), generator=generator).tolist()
    (out / VIDEOS).mkdir(parents=True, exist_ok=True)
    pairs, keys, clips = [], [], []
    for index in progress(order):
        pair, key, made = _write_pair(kinds[index], sources[index], out / VIDEOS, generator)
        pairs.append(pair)
        keys.append(key)
        clips += [made] if key.kind == REAL else []
    _forget_times(out / VIDEOS)
    notes = _notes(clips)
    titles = [folder.facts.title for folder in folders]
    key = Key(a=titles[0], b=titles[1], pairs=tuple(keys), seed=seed, salt=secrets.token_hex(32), notes=notes)
    study = Study(
        title=plan.title,
        questions=plan.questions,
        pairs=tuple(pairs),
        participants=plan.participants,
        seed=derive_seed(seed, "study schedule"),  # one way: from it nobody finds who is first
        key_sha256=write_key(out, key),
        rules=Rules(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        worldr1=__version__,
    )
    store = VoteStore.create(out / VOTES_FILE)
    add_tokens(out, store, study, plan.participants)
    store.close()
    study.save(out)  # last: a folder with study.json is whole
    return Made(study=study, notes=notes)


def add_tokens(folder: Path, store: VoteStore, study: Study, num: int) -> list[str]:
    """Makes participants and appends their tokens to tokens.txt, which only its owner may read."""
    tokens = store.add_participants(num, study.key_sha256)
    path = folder / TOKENS_FILE
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{token}\n" for token in tokens)
    return tokens


def _candidates(a: EvaluationFolder, b: EvaluationFolder) -> list[_Candidate]:
    if (a.facts.suite, a.facts.suite_sha256) != (b.facts.suite, b.facts.suite_sha256):
        raise InputError(
            f"{a.path} is of suite {a.facts.suite} and {b.path} of {b.facts.suite}, or of another version of it: "
            "evaluate both with the same suite."
        )
    others = {record.key: record for record in b.records}
    found = []
    for record in a.records:
        other = others.get(record.key)
        files = a.video(record), None if other is None else b.video(other)
        if other is None or files[0] is None or files[1] is None or not (files[0].is_file() and files[1].is_file()):
            continue
        if other.prompt != record.prompt:
            raise InputError(f"Prompt {record.prompt_id} differs between {a.path} and {b.path}; evaluate both again.")
        found.append(_Candidate(a=record, b=other, files=(files[0], files[1])))
    return found


def _stratified(candidates: Sequence[_Candidate], num: int, *, seed: int) -> tuple[list[_Candidate], list[_Candidate]]:
    """`num` candidates of different prompts, scene types alike and camera moves as alike as can be; and the rest.

    One sample of a prompt at most: intervals take prompts for independent.
    """
    generator = make_generator(seed, "study", 0)
    shuffled = [candidates[i] for i in torch.randperm(len(candidates), generator=generator).tolist()]
    left = list({candidate.a.prompt_key: candidate for candidate in shuffled}.values())
    types: Counter[str] = Counter()
    moves: Counter[tuple[str, ...]] = Counter()

    def familiarity(candidate: _Candidate) -> tuple[int, int]:
        return types[_type(candidate.a)], moves[candidate.a.tokens]

    chosen = []
    while left and len(chosen) < num:
        newest = min(left, key=familiarity)
        left.remove(newest)
        chosen.append(newest)
        types[_type(newest.a)] += 1
        moves[newest.a.tokens] += 1
    return chosen, left


def _type(record: VideoRecord) -> str:
    return record.scene_type or record.group.value


def _write_pair(
    kind: str, source: _Candidate, folder: Path, generator: torch.Generator
) -> tuple[Pair, PairKey, tuple[_Clip, _Clip]]:
    """A pair's two videos under random names. Who is first is an even coin."""
    coins = torch.randint(2, (2,), generator=generator).tolist()
    videos = [_read(path) for path in (source.files if kind == REAL else (source.files[coins[1]],) * 2)]
    sides = ("A", "B")
    if kind == DESTROYED:
        videos[1] = (_destroyed(videos[1][0], generator), videos[1][1])
        sides = ("intact", "destroyed")
    clips = [_write(folder, video, fps) for video, fps in videos]
    first, second = (clips[1], clips[0]) if coins[0] else (clips[0], clips[1])
    pair = Pair(
        first=first.name,
        second=second.name,
        prompt=_scene(source.a.prompt),
        camera=camera_words(source.a.tokens),
        clip_ms=max(clip.ms for clip in clips),
    )
    key = PairKey(
        kind=kind,
        first_is="" if kind == SAME else sides[coins[0]],
        prompt=source.a.key,
        scene_type=_type(source.a),
        tokens=source.a.tokens,
        valid=(source.a.status is Status.OK, source.b.status is Status.OK),
    )
    return pair, key, (clips[0], clips[1])


def _read(path: Path) -> tuple[Float[Tensor, "T 3 H W"], int]:
    """Frames and rounded frames per second."""
    video = read_mp4(path)
    rate = video_facts(path).frames_per_second
    if not 1 <= round(rate) <= MAX_FPS:
        raise InputError(f"{path} says {rate} frames per second; convert it to a constant rate of 1 to {MAX_FPS}.")
    height, width = video.shape[-2:]
    return video[..., : height // 2 * 2, : width // 2 * 2], round(rate)  # H.264 needs even sizes


def _write(folder: Path, video: Float[Tensor, "T 3 H W"], fps: int) -> _Clip:
    name = f"{secrets.token_hex(NAME_BYTES)}.mp4"
    write_mp4(folder / name, video, fps=fps)
    return _Clip(name, (video.shape[0], video.shape[2], video.shape[3]), fps)


def _destroyed(video: Float[Tensor, "T 3 H W"], generator: torch.Generator) -> Float[Tensor, "T 3 H W"]:
    """Frames in random order under noise: nobody who looks can prefer it."""
    order = torch.randperm(len(video), generator=generator)
    return (video[order] + NOISE * torch.randn(video.shape, generator=generator)).clamp(0, 1)


def _forget_times(folder: Path) -> None:
    """The order in which files were written would tell sides; a server sends their times."""
    now = int(datetime.now(UTC).timestamp())
    for path in folder.iterdir():
        os.utime(path, (now, now))


def _scene(prompt: str) -> str:
    try:
        return scene_text(prompt)
    except PromptError:
        return prompt


def _notes(clips: Sequence[tuple[_Clip, _Clip]]) -> tuple[str, ...]:
    """Differences between the models' files that anybody would see."""
    unequal = [pair for pair in clips if (pair[0].shape, pair[0].fps) != (pair[1].shape, pair[1].fps)]
    if not unequal:
        return ()
    (a, b), num = unequal[0], len(unequal)
    describe = [f"{c.shape[0]} frames of {c.shape[2]} x {c.shape[1]} at {c.fps} per second" for c in (a, b)]
    return (
        f"In {num} of {len(clips)} pairs the two videos differ in size, length or rate (for example {describe[0]} and "
        f"{describe[1]}): participants can learn to tell the models apart.",
    )
