"""Evaluation folders with tiny videos, studies of them, raters of known taste, and a server in a process of its own."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import torch

from worldr1.camera.motion import camera_sentence
from worldr1.evaluate.folder import EvaluationFolder, Facts
from worldr1.evaluate.records import VideoRecord
from worldr1.study.design import Study, schedule
from worldr1.study.key import DESTROYED, SAME, Key, open_key
from worldr1.study.making import StudyPlan, new_study
from worldr1.study.questions import LEFT, RIGHT, TIE
from worldr1.study.votes import Vote
from worldr1.types import Status
from worldr1.video_io import write_mp4

TYPES = ("static", "single object", "multi object", "non-rigid", "long horizon")
TOKENS = ("push_in", "orbit_left", "pan_right", "fixed")
NAMES = ("base-model-name", "tuned-model-name")


def facts(title: str) -> Facts:
    """Of an evaluation of the suite "test"."""
    return Facts(
        title=title,
        source={"model": title},
        suite="test",
        suite_sha256="00",
        clip=(3, 16, 16),
        samples=1,
        judge="judge",
        reward_model="",
        settings={},
        worldr1="0",
    )


def video_record(prompt_id: int, *, with_camera: bool = True) -> VideoRecord:
    """Of a prompt with one camera move."""
    tokens = (TOKENS[prompt_id % len(TOKENS)],) if with_camera else ()
    scene = f"Scene number {prompt_id} with a red ball."
    return VideoRecord(
        prompt_id=prompt_id,
        prompt=f"{camera_sentence(tokens)} {scene}" if tokens else scene,
        dynamic=False,
        tokens=tokens,
        seed=prompt_id,
        status=Status.OK,
        reason="",
        reward=None,
        scene_type=TYPES[prompt_id % len(TYPES)],
        video=f"{prompt_id:03d}.mp4",
    )


def make_evaluation(
    path: Path, title: str, num: int, *, size: tuple[int, int, int] = (3, 32, 48), fps: int = 30
) -> Path:
    """A folder as `worldr1 evaluate` leaves it. size: frames, height, width. Every mp4 names its model in a tag."""
    folder = EvaluationFolder.create(path, facts(title))
    frames, height, width = size
    for prompt_id in range(num):
        record = video_record(prompt_id, with_camera=prompt_id % 7 != 6)
        generator = torch.Generator().manual_seed(prompt_id + 1000 * len(title))
        grid = torch.rand((1, 3, 4, 6), generator=generator)
        picture = torch.nn.functional.interpolate(grid, (height, width), mode="bilinear")[0]
        video = torch.stack([picture.roll(2 * i, -1) for i in range(frames)])
        write_mp4(path / "videos" / str(record.video), video, fps=fps, comment=json.dumps({"model": title}))
        folder.append(record)
    return path


def make_study(path: Path, plan: StudyPlan, **videos: Any) -> Study:
    """The study `path`/study of two new evaluations; videos: as `make_evaluation`."""
    num = plan.pairs + plan.checks
    a, b = (make_evaluation(path / name, title, num, **videos) for name, title in zip("ab", NAMES, strict=True))
    return new_study(a, b, path / "study", plan).study


def study_key(folder: Path) -> Key:
    """The opened key: a test may look."""
    study = Study.load(folder)
    return open_key(folder, study, set())


# ---------------------------------------------------------------------------------------------------- simulated raters


@dataclass
class Rater:
    """Somebody whose taste is known. Sees which video is which, as a person sees which is better."""

    study: Study
    key: Key
    slot: int
    prefer_b: Mapping[str, float]
    """Question -> probability to prefer B where there is no tie and no side bias."""
    ties: float = 0.1
    side_bias: float = 0.0
    """Probability to take the left video whatever it shows."""
    lazy: bool = False
    """Answers at random, and quickly."""
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    def answers(self, position: int) -> dict[str, str]:
        """To the pair at a position."""
        trial = schedule(self.study, self.slot)[position]
        pair, asked = self.key.pairs[trial.pair], self.study.asked(self.study.pairs[trial.pair])
        if self.lazy:
            return {name: self.dice.choice((LEFT, TIE, RIGHT)) for name in asked}
        if pair.kind == SAME:
            return dict.fromkeys(asked, TIE)
        if pair.kind == DESTROYED:
            return dict.fromkeys(asked, LEFT if trial.first_is_left == (pair.first_is == "intact") else RIGHT)
        left_is_b = trial.first_is_left == (pair.first_is == "B")
        return {name: self._answer(self.prefer_b[name], left_is_b) for name in asked}

    def _answer(self, prefer_b: float, left_is_b: bool) -> str:
        if self.dice.random() < self.ties:
            return TIE
        if self.dice.random() < self.side_bias:
            return LEFT
        return LEFT if (self.dice.random() < prefer_b) == left_is_b else RIGHT

    def ms(self, position: int) -> int:
        """A time that is plausible, or a lazy one."""
        pair = self.study.pairs[schedule(self.study, self.slot)[position].pair]
        return pair.clip_ms + (100 if self.lazy else self.dice.randint(4000, 20000))

    def truth(self, question: str) -> float:
        """The expected share of votes for B, ties split half; sides are even, so the bias halves what is left."""
        p = self.prefer_b[question]
        return self.ties / 2 + (1 - self.ties) * (self.side_bias / 2 + (1 - self.side_bias) * p)


def votes_of(rater: Rater) -> list[Vote]:
    """On all pairs, as the server keeps them."""
    found = []
    for position, trial in enumerate(schedule(rater.study, rater.slot)):
        pair = rater.study.pairs[trial.pair]
        left, right = (pair.first, pair.second) if trial.first_is_left else (pair.second, pair.first)
        found.append(
            Vote(
                slot=rater.slot,
                position=position,
                pair=trial.pair,
                left=left,
                right=right,
                answers=rater.answers(position),
                ms=rater.ms(position),
                loops=(1, 1),
            )
        )
    return found


# -------------------------------------------------------------------------------------------------------------- serving


class StudyServer:
    """`worldr1 study serve` in a process of its own, at a port that stays over restarts."""

    def __init__(self, folder: Path, *, port: int = 0, more: int = 0) -> None:
        """Starts it and waits for its links. more: --tokens."""
        self.folder, self.port = folder, port
        self.links: list[str] = []
        self._start("--tokens", str(more))

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "worldr1", "study", "serve", str(self.folder), "--port", str(self.port)]
        command += options
        environment = {**os.environ, "WORLDR1_TUNED": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("Serving"), line + self.process.stderr.read()
        num = len((self.folder / "tokens.txt").read_text().split())
        self.links = [self.process.stdout.readline().strip() for _ in range(num)]
        self.port = urlsplit(self.links[0]).port or 0

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close_pipes()

    def restart(self, *, more: int = 0) -> None:
        """After `kill`, at the same port. more: --tokens."""
        self._start("--tokens", str(more))

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=20)
        self._close_pipes()
        return code

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


class Client:
    """What the page's script does, without the page: the next pair, a vote until it is acknowledged."""

    def __init__(self, link: str) -> None:
        """link: of a participant."""
        parts = urlsplit(link)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.token = parts.path.rsplit("/", 1)[1]
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of one request. Raises OSError or http.client.HTTPException where there is no answer."""
        status, answer, _ = self.raw(method, path, None if body is None else json.dumps(body).encode(), **headers)
        return status, json.loads(answer)

    def raw(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        """Lets the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def state(self) -> dict[str, Any]:
        """GET /api/TOKEN."""
        return self.ask("GET", f"/api/{self.token}")[1]

    def vote(self, position: int, answers: Mapping[str, str], ms: int = 9000) -> tuple[int, Any]:
        """POST /api/TOKEN/POSITION."""
        body = {"answers": dict(answers), "ms": ms, "loops": [1, 1]}
        return self.ask("POST", f"/api/{self.token}/{position}", body)

    def vote_until_acknowledged(self, position: int, answers: Mapping[str, str], ms: int = 9000) -> None:
        """Tries again for a minute while there is no server, as the page does."""
        for _ in range(600):
            try:
                status, body = self.vote(position, answers, ms)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
                continue
            assert status == 200, body
            return
        raise AssertionError("no server for a minute")


def rate_all(client: Client, rater: Rater) -> None:
    """A participant from the first to the last pair."""
    state = client.state()
    while state["pair"] is not None:
        position = state["pair"]["position"]
        client.vote_until_acknowledged(position, rater.answers(position), rater.ms(position))
        state = client.state()
    client.close()
