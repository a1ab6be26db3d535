"""A real browser for tests: the machine's own Chromium, driven by Playwright; without one the test is skipped."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
MISSING = "no Chromium on this machine: apt-get install chromium, or set WORLDR1_CHROMIUM to its path"


def chromium() -> str | None:
    """Path of the browser; None without one."""
    return os.environ.get("WORLDR1_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Headless; without the sandbox where root runs the tests, which Chromium refuses otherwise. Skips without one."""
    path = chromium()
    if path is None:
        pytest.skip(MISSING)
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else [*ARGUMENTS]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, headless=True, args=arguments)
        yield found
        found.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the tests of a file."""
    with launched() as found:
        yield found


def complaints(page: Page) -> list[str]:
    """A list that fills with what the page's console and scripts complain about."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
