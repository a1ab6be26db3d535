"""Pictures as vision-language models take them: 8 bits a channel, rounded."""

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor


def to_pictures(images: Float[Tensor, "B 3 H W"] | list[Float[Tensor, "3 _ _"]]) -> list[Image.Image]:
    """Images in 0..1, of one size or of several, as RGB pictures.

    Raises ValueError for pixels that are not finite.
    """
    pictures: list[Image.Image] = []
    for image in images:
        if not bool(torch.isfinite(image).all()):
            raise ValueError("the critic's picture has pixels that are not finite")
        pixels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
        pictures.append(Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()))
    return pictures
