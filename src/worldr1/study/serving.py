"""`worldr1 study serve`: the web application on a port."""

import socket
from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from worldr1.errors import InputError
from worldr1.study.design import Study
from worldr1.study.votes import TOKENS_FILE, VoteStore

INSTALL = "pip install 'worldr1[serve]'"
EVERYWHERE = "0.0.0.0"
MAX_CONNECTIONS = 1000
"""More are answered 503 at once."""
KEEP_ALIVE_S = 20


def check_installed() -> None:
    """Raises InputError, with the command, if the web server's packages are missing."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise InputError(f"the package {missing[0]} is missing: {INSTALL}")


def check_address(host: str, port: int, *, lan: bool) -> str:
    """The host to listen at. Raises InputError for another machine's eyes without --lan, and for no port."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port is a number from 0 to 65535, got {port}.")
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not lan:
        raise InputError(f"--host {host} lets other machines in; add --lan if that is what you want.")
    return EVERYWHERE if lan and loopback else host


def own_address() -> str:
    """This machine's address in its network; 127.0.0.1 if it has none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: only asks the kernel for a route
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def links(folder: Path, address: str) -> list[str]:
    """Every participant's link, in the order of their slots. Raises InputError if tokens.txt is missing."""
    path = folder / TOKENS_FILE
    if not path.is_file():
        raise InputError(f"There is no {path}; make new links with `worldr1 study serve {folder} --tokens N`.")
    return [f"{address}/s/{token}" for token in path.read_text(encoding="utf-8").split()]


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises InputError if the port is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InputError(f"cannot listen at {host} port {port} ({error.strerror}); give another --port.") from error
    bound.set_inheritable(True)
    return bound


def serve(folder: Path, study: Study, store: VoteStore, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Answers requests until it is interrupted. ready: called once the first request can come."""
    import uvicorn

    from worldr1.study.app import build_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(
        build_app(folder, study, store),
        **{"access_log": False, "log_level": "error", "server_header": False, "proxy_headers": False},
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=16 * 1024,
        lifespan="off",
        ws="none",
    )
    Server(config).run(sockets=[bound])
