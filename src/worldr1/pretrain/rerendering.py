"""How much of the hold-out re-rendering error is the 3D model's own? The same clips, drawn again with the truth."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.mini.prompts import MOTION_WORDS
from worldr1.pretrain.corpus import Corpus, Imperfection
from worldr1.pretrain.vae import through_vae, to_float
from worldr1.protocols import Reconstructor, Renderer
from worldr1.rewards.reconstruction import BEHIND_GREY, ReconstructionConfig, compare_all_redrawn, redraw_jobs
from worldr1.rewards.rendering import render_jobs
from worldr1.rewards.trajectory import STILL_TRANSLATION
from worldr1.scene.image_metrics import psnr_db
from worldr1.types import Reconstruction, Status


def with_true_geometry(found: Reconstruction, corpus: Corpus, index: int) -> Reconstruction:
    """A reconstruction of a clip of the corpus with the clip's own poses and depth.

    The confidence stays the network's: it is also the opacity with which the frames are blended, and a surface that is
    almost opaque is drawn from one frame alone, 1 dB and more worse than the mean of several.
    """
    return replace(
        found, world_from_camera=corpus.world_from_camera[index].to(found.depth), depth=corpus.depth[index].float()
    )


def rigid_moving_clips(corpus: Corpus) -> list[int]:
    """Indices of consistent clips whose scene stands still before a camera that translates: in all others a frame
    tells nothing about the geometry behind the next."""
    reach = corpus.world_from_camera[..., :3, 3].norm(dim=-1).amax(1)
    told = (reach > STILL_TRANSLATION) & (corpus.imperfection == Imperfection.NONE)
    return [
        index
        for index, (moves, prompt) in enumerate(zip(told.tolist(), corpus.prompts, strict=True))
        if moves and not any(words in prompt for words in MOTION_WORDS.values())
    ]


@torch.no_grad()
def rerendering_psnr(
    reconstruct: Reconstructor,
    corpus: Corpus,
    vae: AutoencoderKLWan,
    renderer: Renderer,
    *,
    max_clips: int,
    batch: int = 32,
) -> dict[str, float]:
    """PSNR (dB) of odd frames drawn from even ones, by the 3D model's geometry, by the true one, and what that gains.

    On VAE-decoded clips of `rigid_moving_clips`, at most `max_clips` of them; errors are pooled over clips as mean
    squared errors, each over the pixels that its own geometry covers, as the reward does it. A clip that the 3D model
    rejects counts in neither. Raises InputError if there is no clip to draw.
    """
    predicted, true = [], []
    rows = rigid_moving_clips(corpus)[:max_clips]
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        videos = through_vae(vae, to_float(corpus.video[part])).float()
        found = reconstruct(videos)
        kept = [i for i, reconstruction in enumerate(found) if reconstruction.status is Status.OK]
        if kept:
            exact = [with_true_geometry(found[i], corpus, part[i]) for i in kept]
            predicted.append(_redrawn_mse(videos[kept], [found[i] for i in kept], renderer))
            true.append(_redrawn_mse(videos[kept], exact, renderer))
    if not predicted:
        raise InputError("no held-out clip of a still scene and a moving camera can be drawn again; build more clips")
    errors = torch.stack([torch.cat(predicted), torch.cat(true)])
    ours, truth = psnr_db(errors[:, errors.isfinite().all(0)].mean(1)).tolist()
    return {"rerendering_db": ours, "rerendering_db_true_geometry": truth, "rerendering_db_lost": truth - ours}


def _redrawn_mse(
    videos: Float[Tensor, "B T 3 H W"], reconstructions: Sequence[Reconstruction], renderer: Renderer
) -> Float[Tensor, " B"]:
    """Mean squared error of each clip's held-out frames (float64; NaN where nothing is covered)."""
    config = ReconstructionConfig()
    jobs = redraw_jobs(list(videos), reconstructions, config=config)
    height, width = videos.shape[-2:]
    background = videos.new_full((3,), BEHIND_GREY)
    views = render_jobs(renderer, jobs, height=height, width=width, background=background)
    psnr = [redrawn.psnr_db for redrawn in compare_all_redrawn(list(videos), views, config=config)]
    return 10 ** (-torch.tensor(psnr, dtype=torch.float64) / 10)
