"""One question to a language model behind an OpenAI-compatible address, with patience and clear complaints.

A request names the model and the messages and, unless the asker wants more, nothing else: every server understands
that. Scenes are written with it (`data.writing`) and pictures judged (`backends.critics.server`).
"""

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from worldr1.errors import InputError, ServerError

Message = Mapping[str, Any]
"""{"role": "system" or "user", "content": text, or a list of parts}."""
_BUSY = (408, 409, 429)
_LONGEST_WAIT_S = 60.0
_LARGEST_ANSWER = 16 * 2**20
"""Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingNames:
    """What the caller calls its settings, for the sentences that say what to change."""

    base_url: str = "--base-url"
    model: str = "--model"
    key: str = "OPENAI_API_KEY"
    size: str = "--batch"
    """What makes a request smaller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig:
    """Whom to ask, and how long to try."""

    base_url: str
    """Up to and without "chat/completions"."""
    model: str
    key: str | None = field(default=None, repr=False)
    """Sent in the header alone; None for servers that want none."""
    timeout_s: float = 180.0
    max_tries: int = 6
    """Of one question, while the server is busy, broken or silent."""
    wait_s: float = 2.0
    """Before the second try; doubled before each further one, unless the server says how long (up to a minute)."""
    await_start: bool = False
    """Whether a server that refuses the connection is tried again: it may be starting. Else the address is wrong."""
    names: SettingNames = field(default_factory=SettingNames)

    def __post_init__(self) -> None:
        """Raises InputError for an address or a key that cannot be used."""
        try:
            parts = urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or any(character.isspace() for character in self.base_url):
            raise InputError(f"{self.base_url!r} is no address of a server: give one like https://HOST/v1.")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and self.key.strip()):
            raise InputError("The key has characters that no key has (perhaps a line end): set it again.")
        if self.max_tries < 1:
            raise InputError("A server must be asked at least once.")


class ChatClient:
    """Asks a model."""

    def __init__(self, config: ChatConfig) -> None:
        self.config = config
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        self._opener = build_opener(_NoRedirect)

    def body(self, messages: Sequence[Message], **options: Any) -> dict[str, Any]:
        """What is sent, as JSON. options: further fields of the API."""
        return {"model": self.config.model, "messages": [dict(message) for message in messages], **options}

    def ask(self, messages: Sequence[Message]) -> str:
        """The text of the answer; raises as `complete`."""
        try:
            text = self.complete(messages)["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise self._no_answer() from error
        return text if isinstance(text, str) else ""  # null: the model refused or ran out of tokens

    def complete(self, messages: Sequence[Message], **options: Any) -> dict[str, Any]:
        """The server's whole answer, a JSON object. May be called by several threads.

        Raises InputError for a wrong address, key or model, and for a request that the server refuses; ServerError if
        it stays busy, broken or silent.
        """
        headers = {"Content-Type": "application/json"}
        if self.config.key is not None:
            headers["Authorization"] = f"Bearer {self.config.key}"
        request = Request(self._url, json.dumps(self.body(messages, **options)).encode(), headers)
        wait_s, trouble = self.config.wait_s, ""
        for left in reversed(range(self.config.max_tries)):
            until = time.monotonic() + self.config.timeout_s
            try:
                with self._opener.open(request, timeout=self.config.timeout_s) as answer:
                    return self._object(_read(answer, until))
            except HTTPError as error:
                said = _words_of(error).replace(self.config.key or "\n", "(key)")  # some servers repeat it
                if error.code not in _BUSY and error.code < 500:
                    raise self._refusal(error, said) from error
                trouble, asked_s = f"answers {error.code} ({said})", _retry_after_s(error)
            except (OSError, http.client.HTTPException) as error:
                cause = error.reason if isinstance(error, URLError) else error
                if not self._may_pass(cause):
                    names = self.config.names
                    raise InputError(f"{self._url} cannot be reached ({cause}); check {names.base_url}.") from error
                trouble, asked_s = f"does not answer ({cause})", None
            if left:
                time.sleep(min(wait_s if asked_s is None else asked_s, _LONGEST_WAIT_S))
                wait_s *= 2
        raise ServerError(f"{self._url} still {trouble} at try {self.config.max_tries}; run again later to go on.")

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            found = json.loads(answer)
        except ValueError as error:
            raise self._no_answer() from error
        if not isinstance(found, dict):
            raise self._no_answer()
        return found

    def _no_answer(self) -> InputError:
        return InputError(
            f"{self._url} does not answer as an OpenAI-compatible server does; check {self.config.names.base_url}."
        )

    def _may_pass(self, cause: str | BaseException) -> bool:
        """Whether another try may help: the line broke or nobody answered in time, but somebody was there."""
        if isinstance(cause, http.client.InvalidURL):
            return False
        if isinstance(cause, ConnectionRefusedError):
            return self.config.await_start
        passing = (TimeoutError, ConnectionResetError, BrokenPipeError, http.client.HTTPException)
        return isinstance(cause, passing)

    def _refusal(self, error: HTTPError, said: str) -> InputError:
        names = self.config.names
        if error.code in (401, 403):
            return InputError(f"{self._url} refuses the key ({error.code}): set {names.key} to a valid one.")
        if 300 <= error.code < 400:
            target = error.headers.get("Location", "another address")
            return InputError(f"{self._url} sends us on to {target}; give the final address as {names.base_url}.")
        if error.code in (404, 405):
            return InputError(
                f"{self._url} knows no such page or model ({error.code}: {said}); "
                f"check {names.base_url} and {names.model} {self.config.model}."
            )
        return InputError(
            f"{self._url} refuses the request ({error.code}: {said}); check {names.model} and {names.size}."
        )


class _NoRedirect(HTTPRedirectHandler):
    """urllib would repeat the request elsewhere as a GET, with the key in its header."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """None: the redirection is an error."""


def _read(answer: http.client.HTTPResponse, until: float) -> bytes:
    """The whole body. Raises TimeoutError if it trickles in past `until`: urllib's limit is for each piece alone."""
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > _LARGEST_ANSWER:
            raise http.client.HTTPException(f"its answer is longer than {_LARGEST_ANSWER} bytes")
        if time.monotonic() > until:
            raise TimeoutError("its answer trickles in")
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)


def _retry_after_s(error: HTTPError) -> float | None:
    """Seconds that the server asks for; None if it says nothing, or gives a date."""
    said = error.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else None


def _words_of(error: HTTPError) -> str:
    """The server's own explanation, cut to a line."""
    try:
        with error:
            found: Any = json.loads(error.read(4096))
    except (OSError, http.client.HTTPException, ValueError):
        return str(error.reason)
    found = found[0] if isinstance(found, list) and found else found  # Gemini's wraps it in a list
    inner = found.get("error", found) if isinstance(found, dict) else found
    message = inner.get("message") if isinstance(inner, dict) else inner
    return " ".join(str(message).split())[:300]
