"""Trainers for the tests of updates."""

import functools
from pathlib import Path

import pytest
from tiny_trainer import Make, build_trainer


@pytest.fixture
def make(tiny_wan_folder: Path) -> Make:
    """`tiny_trainer.build_trainer`."""
    return functools.partial(build_trainer, tiny_wan_folder)
