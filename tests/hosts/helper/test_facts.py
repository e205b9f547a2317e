"""What the helper reads of its host: from the files and the program's words as Linux and CRIU write them."""

import json
import platform
from pathlib import Path

import pytest

from pillion.hosts.helper import facts as under_test
from pillion.hosts.helper.facts import can_raise_limits, cpu_features, criu_problem, criu_version, facts


def criu(folder: Path, script: str) -> str:
    """A program in CRIU's place."""
    program = folder / "criu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_the_capability_is_read_from_what_is_effective_and_not_from_what_could_be():
    status = "Name:\tpython3\nCapPrm:\t000001ffffffffff\nCapEff:\t{}\nCapBnd:\t000001ffffffffff\n"
    assert can_raise_limits(status.format("000001ffffffffff"))
    assert can_raise_limits(status.format("0000000001000000"))
    assert not can_raise_limits(status.format("0000003ffeffffff"))
    assert not can_raise_limits(status.format("0000000000000000"))


def test_cpu_features_are_the_processor_s_on_x86_and_arm():
    x86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2\nvmx flags\t: vnmi\n\nprocessor\t: 1\nflags\t\t: fpu sse2 avx2\n"
    assert cpu_features(x86) == ["avx2", "fpu", "sse2"]
    assert cpu_features("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd crc32\n") == ["asimd", "crc32", "fp"]
    assert cpu_features("processor\t: 0\nisa\t: rv64imafdc\n") == []


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'Version: 3.17.1'; echo 'GitID: v3.17.1-22-g2cf8f13'", [3, 17, 1]),
        ("echo 'Version: 4.2'", [4, 2]),
        ("echo 'libnl-3.so.200: cannot open shared object file' >&2; exit 127", None),
        ("echo hello", None),
    ],
)
def test_a_version_is_told_by_a_criu_that_runs(tmp_path: Path, script: str, version: list[int] | None):
    assert criu_version(criu(tmp_path, script)) == version


def test_a_failed_check_names_its_last_error_and_noise_of_a_good_one_is_none(tmp_path: Path):
    noise = "echo 'Error (criu/tun.c:85): tun: Unable to create tun: No such file or directory' >&2"
    missing = "echo 'Error (criu/cr-check.c:147): sys/kernel/ns_last_pid sysctl is inaccessible' >&2"
    program = criu(tmp_path, f"{noise}; {missing}; echo 'Does not look good.'; exit 1")
    assert criu_problem(program) == "sys/kernel/ns_last_pid sysctl is inaccessible"
    criu(tmp_path, "echo 'Running as non-root requires --unprivileged'; exit 1")
    assert criu_problem(program) == "Running as non-root requires --unprivileged"
    criu(tmp_path, "kill -SEGV $$")
    assert criu_problem(program) == "it ended with -11"
    criu(tmp_path, f"{noise}; echo 'Looks good.'")
    assert criu_problem(program) == ""


def test_a_check_is_tried_again_until_it_succeeds_and_then_no_more(tmp_path: Path):
    count = tmp_path / "count"
    script = f"echo x >>{count}; [ $(wc -l <{count}) -ge 2 ] || exit 1"
    program = criu(tmp_path, script)
    assert [bool(criu_problem(program)) for _ in range(4)] == [True, False, False, False]
    assert count.read_text() == "x\nx\n"


def test_a_check_without_end_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(under_test, "_CRIU_TIMEOUT_S", 0.2)
    assert criu_problem(criu(tmp_path, "exec sleep 30")) == "no end after 0.2 s"


def test_a_host_without_criu_says_so_and_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(under_test, "_SYSTEM_PATH", str(tmp_path))
    without = facts(str(tmp_path))
    assert (without["criu_version"], without["criu_problem"]) == (None, "")
    assert without["python_version"] == platform.python_version()
    assert without["free_bytes"] > 0
    assert without["shm_free_bytes"] > 0
    assert without["cpu_features"]
    criu(tmp_path, '[ "$1" = check ] || echo "Version: 4.2.1"')
    assert json.loads(json.dumps(facts(str(tmp_path))))["criu_version"] == [4, 2, 1]
