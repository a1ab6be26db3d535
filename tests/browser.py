"""A headless Chromium for tests of pages: the system's, or playwright's own; without one such tests are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def launched() -> Iterator["Browser"]:
    """A browser; skips the test with a reason if there is none to launch."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    system = next((found for name in NAMES if (found := shutil.which(name))), None)
    with api.sync_playwright() as playwright:
        path = system or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("no Chromium here: install the system's, or run `playwright install chromium`")
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()
