"""Prompts as embeddings: from the disk if they are there, else by the stock pipeline's own code.

A text encoder is larger than the small video model (umt5-xxl: 11 GB in bfloat16), and needed for a second. So it can be
loaded when a prompt is not stored yet, and freed at once.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers.utils import logging
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from worldr1.backends.text_cache import EncodedPrompt, TextCache

SHOWN_WORDS = 60
"""Characters of a prompt in a note."""


class EncoderSource(Protocol):
    """Where a text encoder comes from (a folder, or random weights)."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer; cheap."""
        ...

    def encoder(self) -> nn.Module:
        """The encoder, frozen, on its device; takes long."""
        ...

    def fingerprint(self) -> str:
        """Tells it from every other encoder."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions:
    """How long a text encoder stays, and where its results do."""

    keep: bool = True
    """Keep the encoder in memory. False: load it for prompts that are not stored, then free it."""
    cache_folder: Path | None = None
    """None: nothing is stored."""
    max_length: int | None = None
    """Tokens to which prompts are padded or cut: what the model was trained with. None: the tokenizer's own limit."""


Examine = Callable[[str, Tensor, Tensor], None]
"""Of a prompt, its stored embeddings [1, S, D] and those of the encoder [1, S, D]."""


class PromptEncoder:
    """Prompts -> embeddings [P, S, D] on the device."""

    def __init__(
        self,
        source: EncoderSource,
        pipeline: Callable[..., Any],
        *,
        options: TextOptions,
        limit: int,
        dtype: torch.dtype,
        device: torch.device,
        clean: Callable[[str], str] = str,
    ) -> None:
        """pipeline: the stock class whose `encode_prompt` is used. limit: most tokens, whatever the tokenizer says.

        dtype: of the embeddings. clean: what the pipeline does to a prompt before its tokenizer (for counting tokens).
        """
        self._source, self._pipeline, self._options = source, pipeline, options
        self._dtype, self._device, self._clean = dtype, device, clean
        self._tokenizer = source.tokenizer()
        self.max_length = options.max_length or min(limit, self._tokenizer.model_max_length)
        self._encoder: nn.Module | None = source.encoder() if options.keep else None
        self._noted: set[str] = set()
        self._cache: TextCache | None = None
        if options.cache_folder is not None:
            self._cache = TextCache(
                options.cache_folder, fingerprint=source.fingerprint(), max_length=self.max_length, dtype=dtype
            )

    @property
    def stores(self) -> bool:
        """Whether embeddings are kept on disk."""
        return self._cache is not None

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """The embeddings, in order. A prompt that is too long is cut, and a note on stderr says what, once."""
        if self._cache is None:
            embeddings = self._encode(prompts)
            for prompt in prompts:
                self._note(prompt, *self._overhang(prompt))
            self.free()
            return embeddings
        stored = self._stored(prompts, self._cache)
        return torch.stack([stored[prompt].embeddings for prompt in prompts]).to(self._device)

    @torch.no_grad()
    def prepare(
        self,
        prompts: Sequence[str],
        *,
        on_progress: Callable[[int], None] = lambda done: None,
        examine: Examine = lambda prompt, stored, encoded: None,
    ) -> int:
        """Stores what is not stored yet, so that no later call needs the encoder: the number of prompts that were not.

        Nothing to do without a cache.

        on_progress: is given the number of prompts that are done. examine: is given one prompt that was stored before,
        its embeddings from the cache and anew from the encoder, where the encoder is loaded anyway; may raise.
        """
        if self._cache is None:
            return 0
        known: str | None = None
        new: set[str] = set()
        for done, prompt in enumerate(prompts, start=1):
            if self._cache.get(prompt) is None:
                self._cache.put(prompt, self._encode_alone(prompt))
                new.add(prompt)
            elif prompt not in new:
                known = known or prompt
            on_progress(done)
        stored = None if known is None or self._encoder is None else self._cache.get(known)
        if known is not None and stored is not None:
            examine(known, stored.embeddings[None], self._encode([known]))
        self.free()
        return len(new)

    def parts(self) -> tuple[PreTrainedTokenizerBase, nn.Module]:
        """Tokenizer and encoder, for a stock pipeline; loads the encoder if it is not there (the caller keeps it)."""
        return self._tokenizer, self._encoder or self._source.encoder()

    def free(self) -> None:
        """Lets go of the encoder, unless it is to stay."""
        if self._options.keep or self._encoder is None:
            return
        self._encoder = None
        if self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def _stored(self, prompts: Sequence[str], cache: TextCache) -> dict[str, EncodedPrompt]:
        """Every prompt's embeddings, made and stored where they are missing."""
        found: dict[str, EncodedPrompt] = {}
        for prompt in dict.fromkeys(prompts):
            encoded = cache.get(prompt)
            if encoded is None:
                encoded = self._encode_alone(prompt)
                cache.put(prompt, encoded)
            self._note(prompt, encoded.tokens, encoded.cut)
            found[prompt] = encoded
        self.free()
        return found

    def _encode_alone(self, prompt: str) -> EncodedPrompt:
        """In a batch of its own: what is stored must not depend on the other prompts."""
        tokens, cut = self._overhang(prompt)
        return EncodedPrompt(embeddings=self._encode([prompt])[0].cpu(), tokens=tokens, cut=cut)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        if self._encoder is None:
            self._encoder = self._source.encoder()
        nothing = {"vae": None, "scheduler": None, "transformer": None}
        pipeline = self._pipeline(tokenizer=self._tokenizer, text_encoder=self._encoder, **nothing)
        with _quiet_diffusers():  # it would say of itself what was cut, for one of our models only
            embeddings, _ = pipeline.encode_prompt(
                list(prompts),
                do_classifier_free_guidance=False,
                max_sequence_length=self.max_length,
                device=self._device,
                dtype=self._dtype,
            )
        return embeddings

    def _overhang(self, prompt: str) -> tuple[int, str]:
        """Tokens of the whole prompt, and the words that do not fit."""
        ids: list[int] = self._tokenizer(self._clean(prompt), verbose=False)["input_ids"]  # pyright: ignore
        if len(ids) <= self.max_length:
            return len(ids), ""
        # the last place is the end mark's; a word that the tokenizer does not know is cut too, and shown as its mark
        return len(ids), str(self._tokenizer.decode(ids[self.max_length - 1 : -1])).strip()

    def _note(self, prompt: str, tokens: int, cut: str) -> None:
        if tokens <= self.max_length or prompt in self._noted:
            return
        self._noted.add(prompt)
        start = prompt if len(prompt) <= SHOWN_WORDS else f"{prompt[:SHOWN_WORDS]}..."
        print(
            f"note: the prompt {start!r} has {tokens} tokens, the text encoder takes {self.max_length}; "
            f"cut off: {cut!r}",
            file=sys.stderr,
        )


class NegativePrompt:
    """What guidance leads away from: encoded once, beside the first prompts, for which the encoder may be loaded."""

    def __init__(self, encode: PromptEncoder, text: str, *, guided: bool) -> None:
        """guided: False if there is no guidance, so that nobody will ask for it."""
        self._encode, self._text, self._guided = encode, text, guided
        self._embeddings: Tensor | None = None

    def encode_beside(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """Embeddings of the prompts alone."""
        if not self._guided or self._embeddings is not None:
            return self._encode(prompts)
        embeddings = self._encode([*prompts, self._text])
        self._embeddings = embeddings[-1:]
        return embeddings[:-1]

    @property
    def embeddings(self) -> Float[Tensor, "1 S D"]:
        """Its own."""
        if self._embeddings is None:
            self._embeddings = self._encode([self._text])
        return self._embeddings


@contextmanager
def _quiet_diffusers() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
