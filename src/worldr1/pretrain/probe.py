"""Train the attribute probe on clips of its own, and say how well it reads held-out ones: its ceiling as a judge."""

from dataclasses import dataclass, replace

import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from worldr1.mini.attribute_scores import attribute_accuracy, mean_accuracy
from worldr1.mini.attributes import MIRRORED_MOTION, PromptLabels, prompt_labels
from worldr1.mini.networks.probe import (
    BACKDROP_CLASS,
    FIRST_SOLID_CLASS,
    FLOOR_CLASS,
    NUM_CLASSES,
    STRIDE,
    AttributeProbe,
    Probe,
    ProbeConfig,
    Sighting,
    pixel_classes,
)
from worldr1.mini.render import FLOOR, SKY, WALL
from worldr1.pretrain.corpus import Corpus, Imperfection
from worldr1.pretrain.damage import add_noise, blur
from worldr1.pretrain.loop import Fit, FitConfig
from worldr1.pretrain.parts import BuildConfig, finish, judge_corpus, judge_held_out, load_vae, warm_start
from worldr1.pretrain.reconstructor import CELL, true_matches
from worldr1.pretrain.vae import decode_corpus, through_vae, to_float
from worldr1.seeding import derive_seed

UNTAUGHT = -1
"""Class of a pixel that teaches nothing."""
MIN_VISIBLE = 8
"""Pixels of the coarse grid, in the frame that shows most of it, from which on a solid counts as visible. One that
shows fewer, but any, teaches nothing."""
WORD_WEIGHT, MOTION_WEIGHT, MATCH_WEIGHT = 0.5, 1.0, 0.3
MAX_BLUR_PX, MAX_NOISE = 1.0, 0.04


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeTruth:
    """What a batch of clips shows."""

    classes: Int[Tensor, "B T h w"]
    """Classes of the probe's pixels; UNTAUGHT where they are not known."""
    visible: Bool[Tensor, "B K"]
    """The solid of this colour can be seen (MIN_VISIBLE)."""
    certain: Bool[Tensor, "B K"]
    """It can be seen, or not at all."""
    labels: PromptLabels
    matches: Float[Tensor, "B T 4 h4 w4"]
    """`reconstructor.true_matches`."""
    matched: Float[Tensor, "B T 1 h4 w4"]


def true_classes(surface: Int[Tensor, "B T H W"], labels: PromptLabels) -> Int[Tensor, "B T h w"]:
    """The probe's class of every STRIDE-th pixel. surface: ids of `mini.render`."""
    colours = [(labels.order == rank).int().argmax(1) + FIRST_SOLID_CLASS for rank in range(3)]
    # With two solids in the list the second is solid 1 or solid 2 of the scene; only one of them is in the picture.
    last = torch.where(labels.named.sum(1) == 3, colours[2], colours[1])
    backdrop = torch.full_like(last, BACKDROP_CLASS)
    table = torch.empty(len(surface), 6, dtype=torch.long, device=surface.device)
    table[:, SKY], table[:, FLOOR], table[:, WALL] = backdrop, torch.full_like(last, FLOOR_CLASS), backdrop
    table[:, 2], table[:, 3], table[:, 4] = colours[0], colours[1], last
    batch = torch.arange(len(surface), device=surface.device)[:, None, None, None]
    return table[batch, surface[..., ::STRIDE, ::STRIDE].long()]


def mirrored_labels(labels: PromptLabels) -> PromptLabels:
    """The words of the mirrored clips: left is right."""
    return replace(labels, motion=torch.tensor(MIRRORED_MOTION, device=labels.motion.device)[labels.motion])


def probe_loss(sighting: Sighting, truth: ProbeTruth) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of pixels and of every kind of word, and the error of the matching layer in cells.

    Kind, texture and motion are asked of solids that can be seen, the wall's texture of rooms.
    """
    labels, seen = truth.labels, truth.visible
    pixels = F.cross_entropy(sighting.classes.movedim(2, 1), truth.classes, ignore_index=UNTAUGHT)
    present = F.binary_cross_entropy_with_logits(sighting.present, seen.float(), reduction="none")
    words = {
        "present": (present * truth.certain).sum() / truth.certain.sum(),
        "kind": _cross_entropy(sighting.kind, labels.kind, seen),
        "texture": _cross_entropy(sighting.texture, labels.texture, seen),
        "floor_texture": F.cross_entropy(sighting.floor_texture, labels.floor_texture),
        "floor_colour": F.cross_entropy(sighting.floor_colour, labels.floor_colour),
        "place": F.binary_cross_entropy_with_logits(sighting.is_room, labels.is_room.float()),
        "wall_texture": _cross_entropy(sighting.wall_texture, labels.wall_texture, labels.is_room),
        "wall_colour": F.cross_entropy(sighting.wall_colour, labels.wall_colour),
    }
    motion = _cross_entropy(sighting.motion, labels.motion, seen)
    matching = (sighting.matches[:, :, [0, 1, 3, 4]] - truth.matches).abs()
    matching = (matching * truth.matched).sum() / (4 * truth.matched.sum()).clamp(min=1)
    loss = pixels + WORD_WEIGHT * torch.stack(list(words.values())).sum()
    loss = loss + MOTION_WEIGHT * motion + MATCH_WEIGHT * matching
    log = {"pixels": pixels, "motion": motion, "matching": matching} | words
    return loss, {name: value.detach() for name, value in log.items()}


def _cross_entropy(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """Mean over what is asked; 0 if nothing is."""
    each = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    return (each * asked.flatten()).sum() / asked.sum().clamp(min=1)


class ProbeTask:
    """Batches of random clips: half of them mirrored (left is right then), a share blurred and noisy.

    Imperfect clips are labelled by their words like all others, so that a drifting colour or a swimming texture is
    learnt to be neither a change of colour nor a turn.
    """

    def __init__(self, network: nn.Module, corpus: Corpus, *, batch: int, generator: torch.Generator) -> None:
        self.network, self.corpus, self.batch, self.generator = network, corpus, batch, generator
        self.labels = prompt_labels(corpus.prompts).to(generator.device)

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss."""
        device, generator = self.generator.device, self.generator
        index = torch.randint(len(self.corpus.prompts), (self.batch,), generator=generator, device=device)
        mirrored = float(torch.rand((), generator=generator, device=device)) < 0.5
        video, truth = self.examples(index, mirrored=mirrored)
        draw = torch.rand(self.batch, 3, generator=generator, device=device)
        damaged = (draw[:, 0] < 0.3).float()
        video = blur(video, damaged * draw[:, 1] * MAX_BLUR_PX)
        video = add_noise(video, damaged * draw[:, 2] * MAX_NOISE, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            sighting = self.network(video)
        return probe_loss(sighting, truth)

    def examples(
        self, index: Int[Tensor, " B"], *, mirrored: bool = False
    ) -> tuple[Float[Tensor, "B T 3 H W"], ProbeTruth]:
        """Clips of the corpus and what they show."""
        corpus, labels = self.corpus, self.labels[index]
        video, surface, depth = to_float(corpus.video[index]), corpus.surface[index], corpus.depth[index].float()
        poses, warped = corpus.world_from_camera[index], corpus.imperfection[index] == Imperfection.WARP
        if mirrored:
            video, surface, depth, labels = video.flip(-1), surface.flip(-1), depth.flip(-1), mirrored_labels(labels)
            mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1], device=poses.device))
            poses = mirror @ poses @ mirror
        classes = true_classes(surface, labels)
        solids = range(FIRST_SOLID_CLASS, NUM_CLASSES)
        cells = torch.stack([(classes == solid).sum((-2, -1)).amax(1) for solid in solids], 1)
        matches, matched = true_matches(depth, poses)
        # the exact matches are those of a scene that stands still: neither of warps nor of any solid of a dynamic clip
        cell_surface = surface[:, :, None, CELL // 2 :: CELL, CELL // 2 :: CELL]
        still = (cell_surface <= WALL) | ~(labels.motion > 0).any(1)[:, None, None, None, None]
        truth = ProbeTruth(
            classes=classes.masked_fill(warped[:, None, None, None], UNTAUGHT),
            visible=cells >= MIN_VISIBLE,
            certain=(cells >= MIN_VISIBLE) | (cells == 0),
            labels=labels,
            matches=matches,
            matched=matched * still * ~warped[:, None, None, None, None],
        )
        return video, truth


@torch.no_grad()
def probe_metrics(probe: Probe, corpus: Corpus, vae: AutoencoderKLWan | None, *, batch: int = 32) -> dict[str, float]:
    """Means of `attribute_accuracy` on clips that show what their prompts say: the ceiling of any generated clip.

    And the intersection over union of floor, backdrop and solids, pooled over all pixels (of solids: over colours too).
    vae: clips are encoded and decoded first. None: they are clean. Solids that the camera never sees count as missed.
    """
    device = corpus.video.device
    records: list[dict[str, float]] = []
    common, either = torch.zeros(NUM_CLASSES, device=device), torch.zeros(NUM_CLASSES, device=device)
    for start in range(0, len(corpus.prompts), batch):
        part = corpus.rows(slice(start, start + batch))
        video = to_float(part.video)
        sighting = probe(video if vae is None else through_vae(vae, video))
        records += attribute_accuracy(sighting, part.prompts)
        found, true = pixel_classes(sighting), true_classes(part.surface, prompt_labels(part.prompts).to(device))
        for k in range(NUM_CLASSES):
            common[k] += ((found == k) & (true == k)).sum()
            either[k] += ((found == k) | (true == k)).sum()
    groups = {"floor": [FLOOR_CLASS], "backdrop": [BACKDROP_CLASS], "solids": range(FIRST_SOLID_CLASS, NUM_CLASSES)}
    overlap = {f"iou_{name}": float(common[list(k)].sum() / either[list(k)].sum()) for name, k in groups.items()}
    return mean_accuracy(records) | overlap


def new_probe(seed: int) -> AttributeProbe:
    """Random weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights/probe"))
        return AttributeProbe(ProbeConfig())


def build_probe(config: BuildConfig) -> dict[str, float]:
    """Train the probe on `judge_corpus` (half of it as the VAE decodes it, if there is one); its held-out metrics."""
    network, corpus = new_probe(config.seed).to(config.device), judge_corpus(config)
    vae = load_vae(config) if (config.state / "vae.safetensors").exists() else None
    if vae is not None:
        half = len(corpus.prompts) // 2
        corpus.video[:half] = decode_corpus(vae, corpus.video[:half])
    warm_start(network, config, "probe")
    fit = Fit(network, config.state / "probe", FitConfig(seconds=config.seconds, total_s=config.total_s, lr=8e-4))
    if config.device == "cuda":
        network.compile()
    generator = torch.Generator(config.device).manual_seed(derive_seed(config.seed, "probe", fit.steps))
    fit.run(ProbeTask(network, corpus, batch=config.batch, generator=generator))
    finish(fit, network, config, "probe")
    probe, held_out = Probe(network, autocast=config.device == "cuda"), judge_held_out(config)
    metrics = {"steps": float(fit.steps)}
    for name, through in (("clean", None), ("decoded", vae)):
        if name == "clean" or vae is not None:
            metrics |= {f"{key}_{name}": value for key, value in probe_metrics(probe, held_out, through).items()}
    return metrics
