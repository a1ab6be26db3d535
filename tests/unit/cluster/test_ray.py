"""The pool on a real Ray of this machine, with two actors for all tests of this file."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from remote_rewards import Actor, BothRewards, mini_reward
from reward_pool import BATCH, NumberReward, SabotagedActor, ask, wrong_owners

from worldr1.cluster.ranks import Rank
from worldr1.cluster.ray_actors import RayActors
from worldr1.cluster.reward import RemoteReward
from worldr1.errors import ServerError
from worldr1.rewards.remote import RemoteConfig
from worldr1.testing import example_clips
from worldr1.types import Status

pytest.importorskip("ray", reason="pip install 'worldr1[cluster]'")


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteReward]:
    config = RemoteConfig(actors=2, cpus=0.5, timeout_s=20, restarts=20)
    with RemoteReward(RayActors(config, BothRewards, "cpu", actor=Actor), config, batch=2) as reward:
        yield reward


def test_the_numbers_are_those_of_this_process_bit_for_bit(remote: RemoteReward) -> None:
    """In the same batches; alone, a video's numbers round differently, here as there."""
    videos, prompts, paths = example_clips(3, frames=17, height=64, width=96, device="cpu")
    here = mini_reward()
    assert not videos.is_contiguous(), "a layout that is lost on the way would go unnoticed"
    expected = here(videos, prompts, paths, False)
    assert remote(videos, prompts, paths, False) == expected
    assert {r.status for r in expected} == {Status.OK}
    assert remote.reconstructor is not None
    found, lifted = remote.reconstructor(videos[:1])[0], here.reconstructor(videos[:1])[0]
    assert torch.equal(found.depth, lifted.depth) and torch.equal(found.world_from_camera, lifted.world_from_camera)


def test_scores_stay_with_their_videos(remote: RemoteReward) -> None:
    assert wrong_owners(remote, clients=4, videos=300)[1] == 0


def test_an_actor_that_is_killed_comes_back_and_costs_no_video(
    remote: RemoteReward, capfd: pytest.CaptureFixture[str]
) -> None:
    before = remote.counts.deaths
    results = ask(remote, range(6), "killed")
    assert [r.value for r in results] == list(range(6))
    assert remote.counts.deaths > before
    out, err = capfd.readouterr()
    assert out == "", "standard output carries results only"
    assert "died" in err


def test_it_listens_on_this_machine_only_and_asks_for_a_token(remote: RemoteReward) -> None:
    import ray
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    assert is_token_auth_enabled()
    assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    hosts = {int(line.split()[1].partition(":")[2], 16): line.split()[1].partition(":")[0] for line in _listening()}
    port = int(ray.get_runtime_context().gcs_address.partition(":")[2])
    assert hosts[port] in ("0100007F", "0000000000000000FFFF00000100007F")


def _listening() -> list[str]:
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]


def test_ranks_are_clients_of_one_pool_that_rank_0_starts_and_ends(remote: RemoteReward) -> None:
    """The Ray of `remote`, with a pool of its own. Clients in processes of their own: benchmarks/reward_pool.py."""
    config = RemoteConfig(address="auto", actors=2, cpus=0, restarts=20, start_timeout_s=60)

    def client(number: int, config: RemoteConfig = config) -> RemoteReward:
        rank = Rank(number=number, of=3, namespace="test")
        make: Any = NumberReward
        actors = RayActors(config, make, "cpu", actor=SabotagedActor, rank=rank)
        return RemoteReward(actors, config, batch=BATCH, say=lambda line: None)

    with pytest.raises(ServerError, match=r"Rank 0 has started no reward actors within 0\.1 s"):
        client(1, replace(config, start_timeout_s=0.1))
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(client, range(3))
        pools: list[Any] = [reward._actors for reward in (first, *others)]
        ids = [{handle._actor_id for handle in pool._handles} for pool in pools]
        assert ids[0] == ids[1] == ids[2] and len(ids[0]) == 2
        rounds = list(pool.map(lambda reward: wrong_owners(reward, clients=2, videos=60), (first, *others)))
        assert [wrong for _, wrong in rounds] == [0, 0, 0] and min(scored for scored, _ in rounds) >= 60
        others[0].close()  # it goes home; the others still have theirs
        assert [r.value for r in ask(others[1], range(6), "killed")] == list(range(6))
        assert [r.value for r in ask(first, range(6))] == list(range(6))
    first.close()
    assert {r.status for r in ask(others[1], range(4))} == {Status.FAULT}
    others[1].close()


def test_closing_twice_starts_no_other_ray(remote: RemoteReward) -> None:
    import ray

    remote.close()
    remote.close()
    assert not ray.is_initialized()
    assert "RAY_AUTH_TOKEN" not in os.environ


INTERRUPTED = """
import sys
from reward_pool import NumberReward, SabotagedActor, ask
from worldr1.cluster.ranks import Rank
from worldr1.cluster.ray_actors import RayActors
from worldr1.cluster.reward import RemoteReward
from worldr1.errors import ServerError
from worldr1.rewards.remote import RemoteConfig

config = RemoteConfig(actors=1, cpus=0.5)
with RemoteReward(RayActors(config, NumberReward, "cpu", actor=SabotagedActor), config, batch=4) as reward:
    print("asked", flush=True)
    ask(reward, range(4), "hung")
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(stop: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, which every process of the terminal gets, and a SIGKILL of the trainer alone, while an actor works."""
    path = os.pathsep.join(filter(None, sys.path))
    mark = f"WORLDR1_TEST={tmp_path.name}-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": "/tmp", mark.partition("=")[0]: mark.partition("=")[2]},
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == b"asked\n"
    assert len(marked(mark)) > 3
    time.sleep(0.3)
    if stop is signal.SIGINT:
        os.killpg(process.pid, stop)
    else:
        process.kill()
    process.wait(timeout=30)
    deadline = time.monotonic() + 20
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def marked(mark: str) -> list[str]:
    """Living processes that have inherited an environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found
