"""The study's web application: a page, a participant's next pair, a vote, a video. It never opens the key.

| Request | Answer |
|---|---|
| GET /s/TOKEN | the page |
| GET /api/TOKEN | `{"title", "total", "done", "closed", "key_sha256", "minutes", "pair": null or {...}}` |
| POST /api/TOKEN/POSITION | a vote; 200 once it is on the disk |
| GET /v/NAME.mp4 | a video, by ranges |

Of a request nothing but the vote is kept: no address, no browser, no log of requests.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worldr1.study.design import VIDEOS, Study, Trial, minutes_per_participant, schedule
from worldr1.study.questions import CHOICE_LABELS, CHOICES, QUESTIONS
from worldr1.study.votes import Refused, Vote, VoteStore

MAX_BODY_BYTES = 4096
BODY_TIMEOUT_S = 10.0
MAX_MS = 24 * 3600 * 1000
MAX_LOOPS = 100_000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",  # the address of a page is a participant's secret
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}
NO_STORE = {"Cache-Control": "no-store"}
KEEP = {"Cache-Control": "private, max-age=86400, immutable"}
_REFUSALS = {
    "closed": (410, "The study is closed. Thank you for what you have answered."),
    "order": (409, "This is not your next pair."),
    "different": (409, "This pair has been submitted already, and its answers cannot be changed any more."),
}
_ASSETS = {"study.css": "text/css", "study.js": "text/javascript"}
_MESSAGES = {
    404: "There is nothing at this address. Please use the link that you were given.",
    405: "This cannot be done here.",
    500: "Something went wrong on our side. What you have submitted is safe; please reload the page.",
}


class BadVote(Exception):
    """A vote's body that is none; the text says why."""


class StudyApp:
    """One study's requests."""

    def __init__(self, folder: Path, study: Study, store: VoteStore) -> None:
        """As `build_app`."""
        self._folder, self._study, self._store = folder / VIDEOS, study, store
        self._videos = {name for pair in study.pairs for name in (pair.first, pair.second)}
        self._page = _asset("study.html")
        self._assets = {name: _asset(name) for name in _ASSETS}
        self._schedules: dict[int, tuple[Trial, ...]] = {}

    def routes(self) -> list[Route]:
        """What the module's table says."""
        return [
            Route("/s/{token}", self.page, methods=["GET"]),
            Route("/api/{token}", self.state, methods=["GET"]),
            Route("/api/{token}/{position:int}", self.vote, methods=["POST"]),
            Route("/v/{name}", self.video, methods=["GET"]),
            Route("/assets/{name}", self.asset, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """The page, the same for everybody whose link is known."""
        await self._slot(request)
        return HTMLResponse(self._page, headers=NO_STORE)

    async def asset(self, request: Request) -> Response:
        """The page's script and style."""
        name = request.path_params["name"]
        if name not in _ASSETS:
            raise HTTPException(404)
        return Response(self._assets[name], media_type=_ASSETS[name], headers={"Cache-Control": "no-cache"})

    async def state(self, request: Request) -> Response:
        """Where the participant is, and the pair that is next."""
        slot = await self._slot(request)
        return JSONResponse(await run_in_threadpool(self._state, slot), headers=NO_STORE)

    def _state(self, slot: int) -> dict[str, Any]:
        self._store.opened(slot)
        done, study = self._store.num_votes(slot), self._study
        closed = self._store.sealed_sha256 is not None
        return {
            "title": study.title,
            "total": len(study.pairs),
            "done": done,
            "closed": closed,
            "key_sha256": study.key_sha256,
            "minutes": minutes_per_participant(study),
            "pair": None if closed or done >= len(study.pairs) else self._pair(slot, done),
        }

    def _pair(self, slot: int, position: int) -> dict[str, Any]:
        pair, left, right = self._shown(slot, position)
        return {
            "position": position,
            "prompt": pair.prompt,
            "camera": pair.camera,
            "left": f"/v/{left}",
            "right": f"/v/{right}",
            "questions": [
                {"name": name, "text": QUESTIONS[name][0], "note": QUESTIONS[name][1]}
                for name in self._study.asked(pair)
            ],
            "choices": [{"name": name, "label": CHOICE_LABELS[name]} for name in CHOICES],
        }

    def _shown(self, slot: int, position: int) -> tuple[Any, str, str]:
        if slot not in self._schedules:
            self._schedules[slot] = schedule(self._study, slot)
        trial = self._schedules[slot][position]
        pair = self._study.pairs[trial.pair]
        return (pair, pair.first, pair.second) if trial.first_is_left else (pair, pair.second, pair.first)

    async def vote(self, request: Request) -> Response:
        """Stores a vote; answers once it is on the disk."""
        slot = await self._slot(request)
        body = await _body(request)
        try:
            vote = self._read_vote(slot, request.path_params["position"], body)
        except BadVote as error:
            return _sentence(422, str(error))
        try:
            await run_in_threadpool(self._store.add, vote)
        except Refused as refusal:
            return _sentence(*_REFUSALS[refusal.reason])
        return JSONResponse({"saved": vote.position}, headers=NO_STORE)

    def _read_vote(self, slot: int, position: int, body: bytes) -> Vote:
        if position >= len(self._study.pairs):
            raise BadVote("There is no such pair.")
        pair, left, right = self._shown(slot, position)
        try:
            table = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadVote("A vote is a JSON object.") from error
        if not isinstance(table, Mapping) or set(table) != {"answers", "ms", "loops"}:
            raise BadVote("A vote has answers, ms and loops.")
        answers, ms, loops = table["answers"], table["ms"], table["loops"]
        asked = self._study.asked(pair)
        if not isinstance(answers, Mapping) or set(answers) != set(asked):
            raise BadVote("Please answer every question.")
        if any(not isinstance(answer, str) or answer not in CHOICES for answer in answers.values()):
            raise BadVote("An answer is left, tie or right.")
        if not isinstance(loops, list) or len(loops) != 2 or not all(_is_count(n, 1, MAX_LOOPS) for n in loops):
            raise BadVote("Please watch both videos to their end first.")
        if not _is_count(ms, 0, MAX_MS):
            raise BadVote("ms is a number of milliseconds.")
        index = self._schedules[slot][position].pair
        return Vote(
            **{"slot": slot, "position": position, "pair": index, "left": left, "right": right, "ms": ms},
            **{"answers": {name: answers[name] for name in asked}, "loops": (loops[0], loops[1])},
        )

    async def video(self, request: Request) -> Response:
        """A video; Starlette's FileResponse knows ranges."""
        name = request.path_params["name"]
        if name not in self._videos:
            raise HTTPException(404)
        return FileResponse(self._folder / name, media_type="video/mp4", headers=KEEP)

    async def _slot(self, request: Request) -> int:
        token = request.path_params["token"]
        slot = None
        if re.fullmatch(r"[\w-]{16,64}", token, re.ASCII):
            slot = await run_in_threadpool(self._store.slot_of, token)
        if slot is None:
            raise HTTPException(404)
        return slot


class _SafeHeaders:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *there]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def build_app(folder: Path, study: Study, store: VoteStore) -> ASGIApp:
    """The ASGI application of a study's folder."""
    handlers: dict[Any, Any] = {HTTPException: _error_page, Exception: _error_page}
    app = Starlette(routes=StudyApp(folder, study, store).routes(), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _SafeHeaders(app)  # outside of everything, so that errors have the headers too


async def _error_page(request: Request, error: Exception) -> Response:
    """One sentence; what happened stands in the organiser's terminal and nowhere else."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = _MESSAGES.get(status, "This request cannot be answered.")
    if request.url.path.startswith("/api/"):
        return _sentence(status, text)
    return PlainTextResponse(text, status_code=status, headers=NO_STORE)


async def _body(request: Request) -> bytes:
    """A request's body. HTTPException 413 for a large one, 408 for one that takes too long."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413)
    except TimeoutError as error:
        raise HTTPException(408) from error
    return bytes(body)


def _sentence(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers=NO_STORE)


def _is_count(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _asset(name: str) -> str:
    return (files("worldr1.study") / "page" / name).read_text(encoding="utf-8")
