"""Ray under the pool: starts or finds one, makes the actors of it, and leaves nothing of it behind.

A Ray of our own listens on 127.0.0.1 only, asks for a token that lives as long as the run, reports nothing to anybody
and has no dashboard. One that is there already is used as it is: its address, token (RAY_AUTH_MODE, RAY_AUTH_TOKEN) and
resources are its owner's.
"""

import contextlib
import importlib
import importlib.metadata
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch

from worldr1.cluster.actor import Arithmetic, RewardActor
from worldr1.cluster.messages import Request, pack
from worldr1.cluster.pool import ActorLost, Done
from worldr1.cluster.ranks import Rank, actor_name
from worldr1.errors import InputError, ServerError
from worldr1.protocols import VideoReward
from worldr1.rewards.remote import RemoteConfig

ADDRESS = "RAY_ADDRESS"
POLL_S = 0.2
HINT = "pip install 'worldr1[cluster]'"
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's name for "this machine alone": its processes then listen on 127.0.0.1, else on every interface
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def ray_version() -> str:
    """Of the installed Ray, without importing it; "" if there is none."""
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_ray() -> None:
    """Raises InputError, in one sentence, without Ray."""
    if not ray_version():
        raise InputError(f'reward.placement = "remote" needs Ray, which is not installed: {HINT}.')


def check_all_reach_ray(config: RemoteConfig, ranks: int) -> None:
    """Raises InputError for several ranks without an address: each would start a Ray, and take the others' GPUs."""
    if ranks > 1 and not _address(config):
        raise InputError(
            f"{ranks} ranks share the reward's actors, which need a Ray that all of them reach: start one on every "
            "node (ray start) and set reward.remote.address or RAY_ADDRESS (docs/rewards_elsewhere.md)."
        )


def where(config: RemoteConfig, device: str) -> str:
    """In words: how many actors, of what size, on which Ray."""
    address = _address(config)
    place = f"the Ray at {address}" if address else "a Ray of this machine that lives as long as the run"
    gpus = config.gpus_on(device)
    each = f", {gpus:g} GPU each" if gpus else ", on the CPU"
    return f"{config.actors} Ray actor{'s' if config.actors > 1 else ''}{each}, on {place}"


class RayActors:
    """`pool.Actors` on Ray. Example: RayActors(RemoteConfig(actors=2), partial(build_reward, ...), "cpu")."""

    def __init__(
        self,
        config: RemoteConfig,
        make: Callable[[], VideoReward],
        device: str,
        *,
        actor: type[RewardActor] = RewardActor,
        rank: Rank | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """make: builds the reward, in the actor's process. device: of the run. actor: the class, for tests. rank: of
        this process among those that share the actors (`cluster.ranks`); None: as torchrun says.

        Raises InputError without Ray, without an address where there are several ranks, for an address that nobody
        answers at, and for GPUs that are not there; ServerError if rank 0 starts no actors.
        """
        check_ray()
        self._rank = rank or Rank.here()
        check_all_reach_ray(config, self._rank.of)
        self.num, self.first = config.actors, self._rank.first_of(config.actors)
        gpus = config.gpus_on(device)
        self._ray, self._leave = _connect(config, device, gpus)
        try:
            self._errors: Any = importlib.import_module("ray.exceptions")
            if self._rank.number:
                self._handles = self._found(config.start_timeout_s)
                return
            _check_resources(self._ray, config, gpus, own=not _address(config), say=say)
            size = {"num_cpus": config.cpus, "num_gpus": gpus, "max_restarts": config.restarts, "max_task_retries": 0}
            remote, arguments = self._ray.remote(actor), (make, "cuda" if gpus else "cpu", Arithmetic.here())
            self._handles = [remote.options(**size, **self._named(i)).remote(*arguments) for i in range(self.num)]
        except BaseException:
            self._leave()
            raise

    def _named(self, actor: int) -> dict[str, str]:
        shared = {"name": actor_name(actor), "namespace": self._rank.namespace}
        return shared if self._rank.shares else {}

    def _found(self, timeout_s: float) -> list[Any]:
        """The actors that rank 0 starts."""
        handles, deadline = [], time.monotonic() + timeout_s
        while len(handles) < self.num:
            try:
                handles.append(self._ray.get_actor(**self._named(len(handles))))
            except ValueError as error:  # Ray's for a name that is not there (yet)
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"Rank 0 has started no reward actors within {timeout_s:g} s: look at what it says."
                    ) from error
                time.sleep(POLL_S)
        return handles

    def about(self, actor: int, done: Done) -> None:
        """Waits for a restart that is going on; `ActorLost` for good once there is none left."""
        call = self._handles[actor].about.options(max_task_retries=-1)
        self._start(partial(call.remote), done, is_start=True)

    def send(self, actor: int, request: Request, attempt: int, done: Done) -> None:
        """The videos go into Ray's memory here, and leave it with the answer."""
        call = self._handles[actor].answer
        self._start(lambda: call.remote(pack(request, attempt)), done, is_start=False)

    def restart(self, actor: int) -> None:
        """SIGKILL, which also ends what hangs in a driver."""
        with contextlib.suppress(self._errors.RayError):
            self._ray.kill(self._handles[actor], no_restart=False)

    def close(self) -> None:
        """Ends the actors, which rank 0 does for all, and Ray if it was started here."""
        handles, self._handles = self._handles, []  # a second time Ray's functions would start another Ray
        for handle in handles if not self._rank.number else ():
            with contextlib.suppress(Exception):
                self._ray.kill(handle)
        self._leave()

    def _start(self, call: Callable[[], Any], done: Done, *, is_start: bool) -> None:
        def answered(future: Any) -> None:
            error = future.exception()
            done(future.result() if error is None else self._told(error, is_start=is_start))

        try:
            call().future().add_done_callback(answered)
        except self._errors.RayError as error:
            done(self._told(error, is_start=is_start))

    def _told(self, error: BaseException, *, is_start: bool) -> BaseException:
        """What the pool is told of an exception: a bug as itself, everything that befell the actor as `ActorLost`."""
        errors = self._errors
        if isinstance(error, errors.RayTaskError):
            return cast(Any, error).as_instanceof_cause()
        if not isinstance(error, errors.RayError):
            return error
        # while a call is lost Ray cannot say yet whether the actor comes back: the next `about` can
        dead = (errors.ActorDiedError, errors.ActorUnschedulableError, errors.RuntimeEnvSetupError)
        return ActorLost(_told(error), for_good=is_start and isinstance(error, dead))


def _address(config: RemoteConfig) -> str:
    return config.address or os.environ.get(ADDRESS, "")


def _connect(config: RemoteConfig, device: str, gpus: float) -> tuple[Any, Callable[[], None]]:
    """Ray, and what leaves it."""
    address = _address(config)
    if address:
        import ray

        if ray.is_initialized():
            return ray, lambda: None
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except Exception as error:  # Ray's own kinds, ConnectionError, ValueError, RuntimeError of a missing token
            raise InputError(
                f"There is no Ray to be used at {address} ({_told(error)}); start one there (ray start --head), "
                "or leave reward.remote.address and RAY_ADDRESS empty for a Ray of this machine."
            ) from error
        return ray, ray.shutdown
    folder = tempfile.mkdtemp(prefix="worldr1-ray-")
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    undo = contextlib.ExitStack()
    undo.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        undo.callback(_read_environment)  # after it is as before
        # its actors find what is found here: code of the user's own too
        path = {"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
        undo.enter_context(_environment(_ENVIRONMENT | token | path))
        import ray

        _read_environment()
        if ray.is_initialized():
            raise InputError("This process uses a Ray already: give its address (reward.remote.address), or close it.")
        cpus = max(config.actors * config.cpus, 1)
        with _environment(_gpus_beside(device) if gpus else {}):
            ray.init(
                num_cpus=int(-(-cpus // 1)),
                num_gpus=None if gpus else 0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
        undo.enter_context(_silenced())
        undo.callback(ray.shutdown)
    except InputError:
        undo.close()
        raise
    except Exception as error:
        undo.close()
        raise ServerError(f"Ray could not be started on this machine: {_told(error)}") from error
    except BaseException:  # Ctrl-C in between
        import ray

        ray.shutdown()
        undo.close()
        raise
    return ray, undo.close


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Of the processes that are started inside."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _read_environment() -> None:
    """Has a Ray that was imported earlier, or used with another token, see what is there now. Private names of Ray's:
    without them a process can use one Ray only, and says so."""
    with contextlib.suppress(ImportError, AttributeError):
        raylet: Any = importlib.import_module("ray._raylet")
        constants: Any = importlib.import_module("ray._private.ray_constants")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
        constants.ENABLE_RAY_CLUSTER = os.environ.get(constants.ENABLE_RAY_CLUSTERS_ENV_VAR) != "0"


@contextmanager
def _silenced() -> Iterator[None]:
    """Ray prints what befalls its actors to our standard output, which carries results only, and has no switch for it.
    The pool says it itself."""
    module = importlib.import_module("ray._private.worker")
    name = "print_to_stdstream"
    before = getattr(module, name, None)
    setattr(module, name, lambda *given, **more: None)
    try:
        yield
    finally:
        setattr(module, name, before)


def _gpus_beside(device: str) -> dict[str, str]:
    """What a Ray of our own may see: the GPUs that the policy is not on; with one GPU, that one."""
    if device != "cuda" or torch.cuda.device_count() < 2:
        return {}
    torch.cuda.init()  # from here on this process's own GPUs are settled
    mine, name = torch.cuda.current_device(), "CUDA_VISIBLE_DEVICES"
    seen = [text for text in os.environ.get(name, "").split(",") if text] or list(
        map(str, range(torch.cuda.device_count()))
    )
    return {name: ",".join(text for index, text in enumerate(seen) if index != mine)}


def _check_resources(ray: Any, config: RemoteConfig, gpus: float, *, own: bool, say: Callable[[str], None]) -> None:
    there = float(ray.cluster_resources().get("GPU", 0))
    if gpus * config.actors <= there:
        return
    sentence = (
        f"{config.actors} reward actors with {gpus:g} GPUs each need more than the {there:g} GPUs that "
        f"{'are left beside the policy on this machine' if own else 'this Ray has'}: lower reward.remote.actors or "
        "reward.remote.gpus (a fraction puts several on one GPU)"
    )
    if own:
        raise InputError(f"{sentence}.")
    say(f"warning: {sentence}, or it must grow.")


def _told(error: BaseException) -> str:
    """A sentence of what Ray says on many lines: the first, or the last if it is an exception's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if "creation task" in lines[0] else 0][:300]
