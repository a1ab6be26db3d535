"""The model hub: whether it answers is asked once, and not five times for every file."""

import socket
import sys
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

TIMEOUT_S = 5.0


@cache
def go_offline_if_unreachable() -> None:
    """To be called before anything is fetched: without a connection the hub's library tries each file for 23 s.

    If the hub's host cannot be connected to, the library is set offline for this process, where it uses what its cache
    has and refuses the rest at once; a line on stderr says so. Behind a proxy nothing is asked: its answer is not the
    hub's.
    """
    if constants.HF_HUB_OFFLINE or getproxies():
        return
    place = urlsplit(constants.ENDPOINT)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), timeout=TIMEOUT_S).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
        print(f"{constants.ENDPOINT} cannot be reached: only what is on this machine is used", file=sys.stderr)
