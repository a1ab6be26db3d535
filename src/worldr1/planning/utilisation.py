"""MFU: the operations that an update's definition needs, over what its GPUs could have done in the same seconds.

Counted is the policy's transformer alone, which is nearly all of the arithmetic: rollouts without the adapter (they may
run on merged weights), the trained step with it, the KL's reference. Not counted is what is done twice to save memory
(gradient checkpointing, scores of attention in its backward pass): PaLM's definition (arXiv 2204.02311, appendix B).
The peak is always the dense bfloat16 one of the card, whatever the recipe's dtype.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worldr1.build import ExperimentConfig
from worldr1.planning.cards import Card
from worldr1.planning.flops import ATTENTION_BACKWARD, Flops, backward_flops, forward_flops
from worldr1.planning.shapes import Latent, Lora, Pass, Transformer
from worldr1.planning.work import Guidance, Work

DEFINED_BACKWARD = 2.0
"""Operations of a backward pass over its forward's where nothing is computed again: attention's four products for two,
and any layer's whose weights are trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utilisation:
    """Of one recipe's updates on `gpus` GPUs of one kind."""

    config: ExperimentConfig
    card: Card
    gpus: int
    forward: Flops
    """One velocity of one latent without the adapter, guidance included."""
    trained: Flops
    """The same with the adapter, and its backward pass."""

    @classmethod
    def of(
        cls,
        config: ExperimentConfig,
        transformer: Mapping[str, Any],
        latent_shape: Sequence[int],
        card: Card,
        *,
        text_tokens: int,
        gpus: int = 1,
    ) -> "Utilisation":
        """transformer: the model's configuration. latent_shape: [C, L, h, w]. text_tokens: of a prompt, padded."""
        network = Transformer.of(transformer)
        channels, frames, height, width = latent_shape
        latent = Latent(channels=channels, frames=frames, height=height, width=width)
        halves = Guidance.of(config, rows=1, tokens=latent.tokens(network)).halves
        given = Pass(rows=halves, tokens=latent.tokens(network), text_tokens=text_tokens)
        forward = forward_flops(network, given)
        if config.train.trainable == "full":
            trained = forward * (1 + DEFINED_BACKWARD)
        else:
            lora = Lora(rank=config.lora.rank, targets=config.lora.targets)
            back = backward_flops(network, given, lora)
            once = Flops(
                linear=back.linear, attention=back.attention * (DEFINED_BACKWARD / ATTENTION_BACKWARD), lora=back.lora
            )
            trained = forward_flops(network, given, lora) + once
        return cls(config=config, card=card, gpus=gpus, forward=forward, trained=trained)

    @property
    def peak(self) -> float:
        """Operations per second of all the GPUs together."""
        return self.gpus * self.card.bf16_tflops * 1e12

    def describe(self) -> str:
        """Which peak it is."""
        cards = f"{self.gpus} x {self.card.name}" if self.gpus > 1 else self.card.name
        return f"mfu is of {self.peak / 1e12:g} TFLOP/s, the dense bfloat16 peak of {cards}"

    def rollout_flops(self, row: Mapping[str, Any]) -> float:
        """Of an update's samples; row: its line of metrics.jsonl."""
        groups = float(row["videos"]) / self.config.train.group_size
        return groups * self._work(row).sampled * self.forward.total

    def step_flops(self, row: Mapping[str, Any]) -> float:
        """Of its trained steps and their reference."""
        work = self._work(row)
        per_group = work.trained * self.trained.total + work.reference * self.forward.total
        return float(row["kept_groups"]) * per_group

    def metrics(self, row: Mapping[str, Any]) -> dict[str, float]:
        """`mfu` of the whole update (decoding, rewards and waiting count as time), `mfu_rollout` and `mfu_step` of the
        two stages that run the transformer."""
        rollout, step = self.rollout_flops(row), self.step_flops(row)
        parts = {"mfu": (rollout + step, "seconds")}
        parts |= {"mfu_rollout": (rollout, "seconds_rollout"), "mfu_step": (step, "seconds_step")}
        return {name: flops / (float(row[s]) * self.peak) for name, (flops, s) in parts.items() if row.get(s)}

    def _work(self, row: Mapping[str, Any]) -> Work:
        return Work.of(self.config, first_index=row.get("first_sde_step"))
