"""What the attribute probe adds to a judge's measures: the prompt's words, and the motion of its named movers."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from worldr1.evaluate.metrics.catalogue import MOVER_MOTION
from worldr1.mini.attribute_scores import attribute_accuracy, mover_masks
from worldr1.mini.networks.probe import Sighting
from worldr1.scene.residual_motion import residual_motion
from worldr1.types import Prompt, Reconstruction


class WordProbe:
    """`judging.judge.Onlooker` on an attribute probe."""

    def __init__(self, probe: Callable[[Float[Tensor, "B T 3 H W"]], Sighting]) -> None:
        self._probe = probe

    def __call__(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        reconstructions: Sequence[Reconstruction | None],
    ) -> list[dict[str, float]]:
        """`attribute_accuracy` of every video and, for a dynamic prompt whose video has a geometry, mover_motion:
        `residual_motion` where the named movers are seen; 0 if none is seen. Raises InputError for a prompt that is not
        canonical."""
        sighting, texts = self._probe(videos), [prompt.text for prompt in prompts]
        height, width = videos.shape[-2:]
        masks = mover_masks(sighting, texts, height=height, width=width)
        found = attribute_accuracy(sighting, texts)
        for measures, prompt, video, mask, lifted in zip(found, prompts, videos, masks, reconstructions, strict=True):
            if not prompt.dynamic or lifted is None:
                continue
            moved = residual_motion(video, lifted, mask) if bool(mask.any()) else 0.0
            if moved is not None:
                measures[MOVER_MOTION] = moved
        return found
