"""What the quality models see of a frame."""

import numpy as np
import pytest
import quality_reference as reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from worldr1.backends.frame_batches import check_frames, chunks, normalised, resize_like_pil, stacked_ids
from worldr1.errors import InputError


def pil(images: np.ndarray, *sizes: tuple[int, int]) -> torch.Tensor:
    """Each by PIL, to one size (height, width) after the other, in 0..1."""
    resized = [Image.fromarray(x) for x in images]
    for height, width in sizes:
        resized = [x.resize((width, height), Image.Resampling.BICUBIC) for x in resized]
    return torch.from_numpy(np.stack([np.asarray(x) for x in resized])).movedim(-1, 1) / 255


SIDE = st.integers(2, 60)


@given(height=SIDE, width=SIDE, rows=SIDE, columns=SIDE, seed=st.integers(0, 9))
def test_resizing_is_pils_bit_for_bit(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    images = reference.images(height, width, count=1, seed=seed)
    images[0, : height // 2] //= 255  # hard edges overshoot
    ours = resize_like_pil(torch.from_numpy(images).movedim(-1, 1) / 255, rows, columns)
    # one pass at a time: Pillow 13 changed their order for some sizes
    assert torch.equal(ours, pil(images, (height, columns), (rows, columns)))


@pytest.mark.parametrize("size", [(480, 832), (704, 1280)])
def test_resizing_is_pils_at_full_size(size: tuple[int, int]) -> None:
    images = reference.images(*size, count=1)
    assert torch.equal(
        resize_like_pil(torch.from_numpy(images).movedim(-1, 1) / 255, 336, 588), pil(images, (336, 588))
    )


def test_eight_bits_are_rounded_and_not_cut() -> None:
    """Defect Q of the official reward: (x * 255).astype(uint8) darkens every frame by half a level."""
    levels = torch.arange(256.0).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    for off in (-0.49, 0.0, 0.49):
        assert torch.equal(resize_like_pil((levels + off) / 255, 16, 16), levels / 255)


def test_what_is_not_a_number_stays_so() -> None:
    frames = torch.rand(2, 3, 40, 40)
    frames[1, 0, 0, 0] = torch.nan
    resized = resize_like_pil(frames, 28, 28)
    assert bool(resized[0].isfinite().all())
    assert bool(resized[1].isnan().any())


def test_normalised_by_clips_constants() -> None:
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[None, :, None, None]
    assert float(normalised(mean.expand(1, 3, 2, 2)).abs().max()) == 0
    one = normalised(mean + torch.tensor([0.26862954, 0.26130258, 0.27577711])[None, :, None, None])
    torch.testing.assert_close(one, torch.ones_like(one))


def test_chunks_cover_everything_once() -> None:
    assert [*range(7)] == [i for part in chunks(7, 3) for i in range(7)[part]]
    assert [part.stop - part.start for part in chunks(7, 3)] == [3, 3, 1]


def test_rows_are_padded_on_the_right() -> None:
    ids, real = stacked_ids([[5, 6, 7], [8]], pad=9, device=torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert real.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 8, 8), (0, 3, 8, 8), (2, 3, 0, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"Frames must be \[B, 3, H, W\]"):
        check_frames(torch.zeros(shape), ["a"] * shape[0])


def test_as_many_prompts_as_frames() -> None:
    with pytest.raises(InputError, match="2 frames need as many prompts, not 1"):
        check_frames(torch.zeros(2, 3, 8, 8), ["a"])
