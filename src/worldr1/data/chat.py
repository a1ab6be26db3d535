"""One question to a language model behind an OpenAI-compatible address, with patience and clear complaints.

The request names the model and the messages and nothing else: every server understands that.
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

from worldr1.errors import InputError, WorldR1Error

Message = Mapping[str, str]
"""{"role": "system" or "user", "content": text}."""
_BUSY = (408, 409, 429)
_LONGEST_WAIT_S = 60.0


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


class ChatClient:
    """Asks a model."""

    def __init__(self, config: ChatConfig) -> None:
        self.config = config
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        self._opener = build_opener(_NoRedirect)

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What is sent, as JSON."""
        return {"model": self.config.model, "messages": [dict(message) for message in messages]}

    def ask(self, messages: Sequence[Message]) -> str:
        """The text of the answer.

        Raises InputError for a wrong address, key or model, and for a request that the server refuses; WorldR1Error if
        it stays busy, broken or silent.
        """
        headers = {"Content-Type": "application/json"}
        if self.config.key is not None:
            headers["Authorization"] = f"Bearer {self.config.key}"
        request = Request(self._url, json.dumps(self.body(messages)).encode(), headers)
        wait_s, trouble = self.config.wait_s, ""
        for left in reversed(range(self.config.max_tries)):
            try:
                with self._opener.open(request, timeout=self.config.timeout_s) as answer:
                    return self._text(answer.read())
            except HTTPError as error:
                said = _words_of(error).replace(self.config.key or "\n", "(key)")  # some servers repeat it
                if error.code not in _BUSY and error.code < 500:
                    raise self._refusal(error, said) from error
                trouble, asked_s = f"answers {error.code} ({said})", _retry_after_s(error)
            except (OSError, http.client.HTTPException) as error:
                cause = error.reason if isinstance(error, URLError) else error
                if not _may_pass(cause):
                    raise InputError(f"{self._url} cannot be reached ({cause}); check --base-url.") from error
                trouble, asked_s = f"does not answer ({cause})", None
            if left:
                time.sleep(min(wait_s if asked_s is None else asked_s, _LONGEST_WAIT_S))
                wait_s *= 2
        raise WorldR1Error(f"{self._url} still {trouble} at try {self.config.max_tries}; run again later to go on.")

    def _text(self, answer: bytes) -> str:
        try:
            text = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"{self._url} does not answer as an OpenAI-compatible server does; check --base-url."
            ) from error
        return text if isinstance(text, str) else ""  # null: the model refused or ran out of tokens

    def _refusal(self, error: HTTPError, said: str) -> InputError:
        if error.code in (401, 403):
            return InputError(f"{self._url} refuses the key ({error.code}): set OPENAI_API_KEY to a valid one.")
        if 300 <= error.code < 400:
            target = error.headers.get("Location", "another address")
            return InputError(f"{self._url} sends us on to {target}; give the final address as --base-url.")
        if error.code in (404, 405):
            return InputError(
                f"{self._url} knows no such page or model ({error.code}: {said}); "
                f"check --base-url and --model {self.config.model}."
            )
        return InputError(f"{self._url} refuses the request ({error.code}: {said}); check --model and --batch.")


class _NoRedirect(HTTPRedirectHandler):
    """urllib would repeat the request elsewhere as a GET, with the key in its header."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """None: the redirection is an error."""


def _may_pass(cause: str | BaseException) -> bool:
    """Whether another try may help: the line broke or nobody answered in time, but somebody was there."""
    if isinstance(cause, http.client.InvalidURL):
        return False
    return isinstance(cause, TimeoutError | ConnectionResetError | BrokenPipeError | http.client.HTTPException)


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
