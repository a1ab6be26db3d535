"""Sessions around a network of a few thousand parameters, and the run that nothing befell."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_session import tiny_models, train


@pytest.fixture(scope="module")
def models(tiny_wan_folder: Path) -> Iterator[None]:
    """While it is used, sessions are made around the tiny network."""
    with tiny_models(tiny_wan_folder):
        yield


@pytest.fixture(scope="module")
def reference(request: pytest.FixtureRequest, models: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the module's `UPDATES`."""
    run = tmp_path_factory.mktemp("runs") / "reference"
    train(run, updates=request.module.UPDATES)
    return run
