"""S_meta's critic behind any OpenAI-compatible server (vLLM, SGLang): one token, its log-probabilities, ten digits.

A picture is one request, and its answer comes back on that request's own connection: nothing is numbered, collected or
stored where two callers could mix it up (the release read one queue for all of them, and 208 of 300 scores went to
another video). Pictures travel as PNG, which loses nothing.
"""

import base64
import io
import math
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from worldr1.backends.critics.config import CriticConfig
from worldr1.backends.critics.digits import DIGITS, DigitAnswers, MassRecord, require_digits
from worldr1.backends.critics.instruction import instruction
from worldr1.backends.critics.pictures import to_pictures
from worldr1.data.chat import ChatClient, ChatConfig, Message, SettingNames
from worldr1.errors import InputError, ServerError

TOP_LOGPROBS = 20
"""Most that the API gives; enough for ten digits in two spellings if the model means to say one."""
_ONE_TOKEN: Mapping[str, Any] = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
_SLACK = 1e-3
"""By which probabilities of a server that computes in bfloat16 may exceed 1."""


class ServerCritic:
    """`protocols.Critic` on a server. May be called by several threads: their requests share `config.concurrency`."""

    def __init__(self, config: CriticConfig) -> None:
        """Raises InputError for an address or a key that cannot be used; asks nobody yet."""
        if config.base_url is None:
            raise InputError("A critic behind a server needs its base_url.")
        self.config = config
        self.licence = f"unknown: of {config.model} at {config.base_url}"
        self.digit_mass = MassRecord()
        chat = ChatConfig(
            base_url=config.base_url,
            model=config.model,
            key=_key(config.key_variable),
            timeout_s=config.timeout_s,
            max_tries=config.max_tries,
            wait_s=config.retry_wait_s,
            await_start=True,
            names=SettingNames(
                base_url="the critic's base_url",
                model="the critic's model",
                key=config.key_variable or "the critic's key_variable and that environment variable",
                size="how the server was started (it must take pictures and give 20 log-probabilities)",
            ),
        )
        self._patient = ChatClient(chat)
        self._brief = ChatClient(replace(chat, max_tries=1))
        self._away = False
        self._pool: ThreadPoolExecutor | None = None
        self._making = threading.Lock()

    def __call__(
        self, images: Float[Tensor, "B 3 H W"] | list[Float[Tensor, "3 _ _"]], prompts: Sequence[str]
    ) -> Float[Tensor, "B 10"]:
        """Probability of each digit among the ten, float32.

        images: 0..1; a list may hold different sizes. prompts: the scenes, without camera words. Raises ServerError if
        the server stays away, InputError (a ValueError) if it cannot be used as a critic, ValueError if an answer is
        hardly a digit.
        """
        return require_digits(self.judge(images, prompts), self.config.min_digit_mass).probabilities

    def judge(
        self, images: Float[Tensor, "B 3 H W"] | list[Float[Tensor, "3 _ _"]], prompts: Sequence[str]
    ) -> DigitAnswers:
        """Probabilities with their digit mass, whatever it is."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} pictures for {len(prompts)} prompts")
        pictures = to_pictures(images)
        waiting = [self._workers().submit(self._ask, *pair) for pair in zip(pictures, prompts, strict=True)]
        try:
            rows = [answer.result() for answer in waiting]
        finally:
            for answer in waiting:
                answer.cancel()  # of those that have not begun, if one has failed
        masses = torch.tensor(rows, dtype=torch.float64).reshape(-1, len(DIGITS))
        total = masses.sum(dim=1)
        answers = DigitAnswers(probabilities=(masses / total[:, None]).float(), mass=total.float())
        self.digit_mass.add(answers.mass)
        return answers

    def check(self) -> None:
        """Asks about one grey picture, so that a run does not start with a critic that cannot judge.

        Raises as calling does, but InputError where the server answers without a digit.
        """
        try:
            self(torch.full((1, 3, 64, 64), 0.5), ["a grey wall"])
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"The critic at {self.config.base_url} cannot be used: {error}.") from error

    def _workers(self) -> ThreadPoolExecutor:
        with self._making:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="critic")
            return self._pool

    def _ask(self, picture: Image.Image, prompt: str) -> list[float]:
        """Share of each digit in the next token."""
        # once it has used up all patience, it is asked once per picture until it is back: else a dead server would
        # cost every picture of an update the whole of it
        client = self._brief if self._away else self._patient
        try:
            reply = client.complete([_message(picture, prompt)], **_ONE_TOKEN)
        except ServerError:
            self._away = True
            raise
        self._away = False
        return digit_shares(reply, model=self.config.model)


def digit_shares(reply: Mapping[str, Any], *, model: str) -> list[float]:
    """Probability of each digit in the whole vocabulary, from a reply of chat/completions; 0 for one that is not named.

    Raises InputError for a server that answers as another model or gives no log-probabilities, ValueError for a reply
    that cannot be read.
    """
    named = reply.get("model", model)
    if named != model:
        raise InputError(f"The critic's server answers as the model {named!r}, not {model!r}: name the one you mean.")
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("the critic's server gave no answer (its choices are empty)")
    logprobs = choices[0].get("logprobs")
    if logprobs is None:
        raise InputError(
            "The critic's server gives no log-probabilities: use one that does (vLLM, SGLang), or run the critic in "
            "process by leaving out its base_url."
        )
    try:
        candidates = {str(c["token"]): float(c["logprob"]) for c in logprobs["content"][0]["top_logprobs"]}
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"the critic's log-probabilities cannot be read ({type(error).__name__}: {error})") from error
    if any(math.isnan(value) or value > _SLACK for value in candidates.values()):
        raise ValueError("the critic's log-probabilities are no logarithms of probabilities")
    shares = [sum(math.exp(candidates.get(spelling, -math.inf)) for spelling in (d, f" {d}")) for d in DIGITS]
    if sum(shares) > 1 + _SLACK:
        raise ValueError(f"the critic's digits have a probability of {sum(shares):.3g} together, more than 1")
    return shares


def _message(picture: Image.Image, prompt: str) -> Message:
    """The picture, then the question, as the model in process is asked."""
    data = io.BytesIO()
    picture.save(data, format="PNG")
    url = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": instruction(prompt)}]
    return {"role": "user", "content": content}


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise InputError(f"The critic's key_variable is {variable}, and that environment variable is not set: set it.")
    return key
