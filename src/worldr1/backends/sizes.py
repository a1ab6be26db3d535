"""Which clips a model can make."""

from worldr1.errors import InputError

Size = tuple[int, int, int]
"""Frames, height, width."""


def check_size(size: Size, nearest: Size, *, multiple: int, time: int) -> None:
    """Raises InputError unless `size` is one that the model can make, of which `nearest` is the nearest.

    multiple: of which height and width must be; time: the frames are time k + 1.
    """
    if size != nearest:
        raise InputError(
            f"A clip of {size[0]} frames of {size[1]} x {size[2]} does not fit the model (height and width: multiples "
            f"of {multiple}; frames: {time} k + 1); the nearest that does is {nearest[0]} frames of {nearest[1]} x "
            f"{nearest[2]}."
        )
