"""What this host is and has, as far as its Docker Engine does not tell it; `core/host_facts.py` says what each is for.

Source: proc_pid_status(5), proc_cpuinfo(5), capabilities(7), criu(8).
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pillion.hosts.helper.wire import Refused

_CAP_SYS_RESOURCE = 24
_CRIU_TIMEOUT_S = 4.0
"""Twice this is less than the helper may take to answer."""
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where CRIU is, also if the SSH user's own path does not say so."""
_ERROR = re.compile(r"^Error \(\S+\): *(.+)$", re.MULTILINE)


def facts(docker_root: str) -> dict[str, Any]:
    """The host's facts, ready for JSON; `docker_root` is where the Docker Engine keeps its data."""
    criu = shutil.which("criu", path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
    version = criu_version(criu) if criu else None
    return {
        "python_version": platform.python_version(),
        "free_bytes": shutil.disk_usage(docker_root).free,
        "shm_free_bytes": shutil.disk_usage("/dev/shm").free,
        "criu_version": version,
        "criu_problem": criu_problem(criu) if criu and version else "",
        "can_raise_limits": can_raise_limits(Path("/proc/self/status").read_text()),
        "cpu_features": cpu_features(Path("/proc/cpuinfo").read_text()),
    }


def can_raise_limits(status: str) -> bool:
    """Whether CAP_SYS_RESOURCE is effective in a process with this /proc/PID/status."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return effective is not None and bool(int(effective[1], 16) >> _CAP_SYS_RESOURCE & 1)


def cpu_features(cpuinfo: str) -> list[str]:
    """What the first processor in this /proc/cpuinfo offers; empty on architectures that do not tell."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return sorted(found[1].split()) if found else []


def criu_version(program: str) -> list[int] | None:
    """What `criu --version` says, None if it does not run."""
    try:
        said = re.search(r"^Version: (\d+(?:\.\d+)*)", _said(program, "--version"), re.MULTILINE)
    except Refused:
        return None
    return [int(number) for number in said[1].split(".")] if said else None


def criu_problem(program: str) -> str:
    """What this host lacks for CRIU, or nothing."""
    try:
        _check(program)
    except Refused as error:
        return error.problem
    return ""


@functools.cache
def _check(program: str) -> None:
    """Asked until it succeeds, then no more: what is there stays. Raises Refused."""
    _said(program, "check")


def _said(*command: str) -> str:
    """What the program says. Raises Refused with the last error that it names, unless it ends with 0 in time."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_CRIU_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"no end after {_CRIU_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise Refused(error.strerror or str(error)) from error
    if done.returncode != 0:
        problems = _ERROR.findall(done.stdout) or done.stdout.splitlines() or [f"it ended with {done.returncode}"]
        raise Refused(problems[-1].strip())
    return done.stdout
