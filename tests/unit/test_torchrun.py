"""An environment says which process this is, or one sentence says that it does not."""

import pytest

from worldr1.errors import InputError
from worldr1.torchrun import Place, place, speaks

SOUND = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node-1"}


def test_torchrun_says_it_and_without_torchrun_there_is_one() -> None:
    assert place(SOUND) == Place(rank=3, world=8, local_rank=1)
    assert place({}) == place({"RANK": "3"}) == Place(rank=0, world=1, local_rank=0)
    assert place({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == Place()  # alone there is nobody to meet


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR"])
def test_half_of_it_is_refused(missing: str) -> None:
    given = {name: value for name, value in SOUND.items() if name != missing}
    with pytest.raises(InputError, match=rf"no process of torchrun's .*{missing}=\(missing\).* start with torchrun"):
        place(given)


@pytest.mark.parametrize(
    "wrong", [{"WORLD_SIZE": "two"}, {"RANK": "8"}, {"RANK": "-1"}, {"LOCAL_RANK": "-1"}, {"RANK": ""}]
)
def test_numbers_that_are_none_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"no process of torchrun's .* or unset WORLD_SIZE"):
        place(SOUND | wrong)


def test_one_process_speaks_even_where_the_environment_is_not_sound() -> None:
    assert speaks({}) and speaks({"RANK": "3"}) and speaks({"RANK": "0", "WORLD_SIZE": "two"})
    assert not speaks(SOUND)
