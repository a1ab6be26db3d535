"""Which rank this is, whose actors it finds, and where it turns to first."""

from collections import Counter

import pytest

from worldr1.cluster.ranks import Rank
from worldr1.cluster.ray_actors import RayActors
from worldr1.errors import InputError
from worldr1.rewards.remote import RemoteConfig

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "MASTER_ADDR": "node-1", "MASTER_PORT": "29500"} | {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
}


def test_torchrun_says_it_and_without_torchrun_there_is_one() -> None:
    assert Rank.here({}) == Rank(number=0, of=1, namespace=Rank.here({}).namespace) and not Rank.here({}).shares
    rank = Rank.here(TORCHRUN)
    assert (rank.number, rank.of, rank.shares) == (3, 8, True)


def test_ranks_of_one_run_share_a_namespace_and_nobody_else_does() -> None:
    mine = Rank.here(TORCHRUN).namespace
    assert Rank.here({**TORCHRUN, "RANK": "0"}).namespace == mine
    for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"):
        assert Rank.here({**TORCHRUN, name: "7"}).namespace != mine


@pytest.mark.parametrize(("ranks", "actors"), [(1, 3), (2, 8), (8, 8), (6, 4), (48, 8), (40, 7)])
def test_ranks_are_spread_over_the_actors(ranks: int, actors: int) -> None:
    firsts = [Rank(number=number, of=ranks).first_of(actors) for number in range(ranks)]
    clients = Counter(dict.fromkeys(range(actors), 0) | Counter(firsts))
    assert max(clients.values()) - min(clients.values()) <= 1 and len(clients) == actors


def test_several_ranks_need_a_ray_that_all_of_them_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="pip install 'worldr1[cluster]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError, match=r"8 ranks share .* set reward\.remote\.address"):
        RayActors(RemoteConfig(), dict, "cpu", rank=Rank(number=3, of=8))  # pyright: ignore[reportArgumentType]
