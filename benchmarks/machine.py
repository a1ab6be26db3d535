"""What a benchmark says about itself: the command, the commit and the machine."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch


def processor() -> str:
    """The processor's name, from /proc/cpuinfo where there is one."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor()


def commit() -> str:
    """Short hash of the checked-out commit, with "+ changes" where tracked files differ from it."""
    here = Path(__file__).parent
    try:
        commands = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "-uno"])
        head, changes = (subprocess.check_output(c, cwd=here, text=True, stderr=subprocess.DEVNULL) for c in commands)
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"
    return head.strip() + (" + changes" if changes else "")


def heading() -> str:
    """Two lines that belong above every table."""
    software = f"Python {platform.python_version()}, torch {torch.__version__}"
    return (
        f"command: {shlex.join(['python', *sys.argv])} (commit {commit()})\n"
        f"machine: {processor()}, {os.cpu_count()} cores; {software}"
    )


def load() -> str:
    """Load averages, where the system has them: other processes make times longer."""
    return f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
