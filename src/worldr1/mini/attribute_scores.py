"""How many of a prompt's words a video shows, and where its named movers are, by what the attribute probe saw."""

from collections.abc import Sequence
from statistics import fmean

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from worldr1.mini.attributes import prompt_labels
from worldr1.mini.networks.probe import FIRST_SOLID_CLASS, Sighting, pixel_classes
from worldr1.mini.scenes import Motion


def attribute_accuracy(sighting: Sighting, prompts: Sequence[str]) -> list[dict[str, float]]:
    """One record per video; a word that the prompt does not have is not in it. Everything but `extra_solids` is 0..1.

    colour, solid, texture: share of the named solids of which there is one of that colour; and, besides, of that kind
    (texture). A missing solid shows none of its words. count: as many solids are seen as are named. extra_solids: how
    many of another colour are seen. floor_texture, floor_colour, place (room or sky), wall_texture (rooms), wall_colour
    (of walls or sky). words: share of all those words (count and extra_solids are none).
    motion (dynamic prompts): share of the named movers that are seen and do what the prompt says. dynamic: something
    seems to move if and only if the prompt says so.

    The probe knows a solid by its colour: two of one colour are one. Raises InputError for a prompt that is not
    canonical (`prompt_labels`).
    """
    labels = prompt_labels(prompts)  # on the CPU, as what is read below: it is small, and read word by word
    seen = sighting.present.cpu() > 0
    shown = {
        "colour": seen,
        "solid": seen & (sighting.kind.cpu().argmax(-1) == labels.kind),
        "texture": seen & (sighting.texture.cpu().argmax(-1) == labels.texture),
    }
    motion = sighting.motion.cpu().argmax(-1)
    moves = seen & (motion != Motion.NONE)
    mover = labels.motion != Motion.NONE
    place = {
        "floor_texture": sighting.floor_texture.cpu().argmax(-1) == labels.floor_texture,
        "floor_colour": sighting.floor_colour.cpu().argmax(-1) == labels.floor_colour,
        "place": (sighting.is_room.cpu() > 0) == labels.is_room,
        "wall_texture": sighting.wall_texture.cpu().argmax(-1) == labels.wall_texture,
        "wall_colour": sighting.wall_colour.cpu().argmax(-1) == labels.wall_colour,
    }
    records = []
    for b in range(len(prompts)):
        named = labels.named[b]
        words = {name: right[b][named].float().tolist() for name, right in shown.items()}
        words |= {name: [float(right[b])] for name, right in place.items()}
        if not labels.is_room[b]:
            del words["wall_texture"]
        record = {name: fmean(values) for name, values in words.items()}
        record["words"] = fmean(value for values in words.values() for value in values)
        record["count"] = float(seen[b].sum() == named.sum())
        record["extra_solids"] = float((seen[b] & ~named).sum())
        if mover[b].any():
            record["motion"] = float((seen & (motion == labels.motion))[b][mover[b]].float().mean())
        record["dynamic"] = float(moves[b].any() == mover[b].any())
        records.append(record)
    return records


def mean_accuracy(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """The table of `attribute_accuracy`: the mean of each name over the records that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: fmean(record[name] for record in records if name in record) for name in names}


def mover_masks(sighting: Sighting, prompts: Sequence[str], *, height: int, width: int) -> Bool[Tensor, "B T H W"]:
    """Where the probe sees the movers that each prompt names, at the size of the video; nowhere for static prompts.

    For `scene.residual_motion`. A mover that is not seen has no pixels: its motion is 0, not unknown.
    Raises InputError for a prompt that is not canonical.
    """
    labels = prompt_labels(prompts).to(sighting.present.device)
    movers = F.pad(labels.motion != Motion.NONE, (FIRST_SOLID_CLASS, 0))
    batch = torch.arange(len(prompts), device=movers.device)[:, None, None, None]
    mask = movers[batch, pixel_classes(sighting)]
    return F.interpolate(mask.float(), (height, width)) > 0.5
