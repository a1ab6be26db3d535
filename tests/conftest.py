"""What holds for every test: no network, one thread, reproducible examples, a Ctrl-C that is heard."""

import os
import signal
import tempfile

import hypothesis

# Before torch is imported: tests must not depend on the hub, and idle threads of parallel processes must not spin.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# and not leave text embeddings of tiny models in the user's cache folder
_cache = tempfile.TemporaryDirectory(prefix="worldr1-cache-")
os.environ["WORLDR1_CACHE"] = _cache.name
# A shell that starts tests in the background has them, and every process they start, ignore Ctrl-C, which some send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Or Python warns, at its end, that nobody did."""
    _cache.cleanup()


hypothesis.settings.register_profile("worldr1", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("worldr1")

pytest_plugins = ["tiny_wan", "published_folders"]  # fixtures of model folders
