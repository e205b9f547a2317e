"""What a machine may lack: one clear error each with remedy and exit code, and `doctor` finds it beforehand."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

TOP = Path(__file__).parents[2]
LAB_FILE = """\
lab: machine
network: 10.79.0.0/24
hosts: {{mec1: {{address: 10.79.0.11}}}}
placement: {{default: mec1}}
apps: {{a2: {{image: pillion/a2, ue: 10.100.0.2, port: 3000, start: mec1, publish: {port}}}}}
"""


def pillion(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `pillion` in a folder of its own."""
    variables = {**os.environ, "PILLION_STATE": str(folder / "state"), **environment}
    command = [sys.executable, "-m", "pillion", *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "machine.pillion.yml").write_text(LAB_FILE.format(port=13099))
    return tmp_path


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("pillion: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_a_taken_port_is_named_with_the_app_that_wants_it(folder: Path) -> None:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 13099))
        taker.listen()
        done = pillion(folder, "up")
        assert done.returncode == 4
        assert "apps.a2.publish: port 13099 of this machine is taken" in one_line(done)
        assert "choose another port" in one_line(done)
        found = pillion(folder, "doctor")
        assert found.returncode == 4
        assert "13099" in found.stdout
    assert not (folder / "state").exists()


def test_no_docker_engine_is_said_with_how_to_get_one(folder: Path) -> None:
    for command in ("up", "doctor"):
        done = pillion(folder, command, DOCKER_HOST=f"unix://{folder}/no.sock")
        assert done.returncode == 4
        said = done.stdout if command == "doctor" else one_line(done)
        assert "no Docker Engine answers" in said
        assert "make setup" in said


def test_a_network_that_overlaps_another_is_refused_before_anything_is_made(folder: Path) -> None:
    subprocess.run(
        ["docker", "network", "create", "--subnet", "10.79.0.128/26", "pillion-test-overlap"],
        check=True,
        capture_output=True,
    )
    try:
        done = pillion(folder, "up")
        assert done.returncode == 4
        assert "10.79.0.0/24 overlaps 10.79.0.128/26" in one_line(done)
        assert "pillion-test-overlap" in one_line(done)
        assert pillion(folder, "doctor").returncode == 4
    finally:
        subprocess.run(["docker", "network", "rm", "pillion-test-overlap"], check=True, capture_output=True)


def test_a_user_who_may_not_use_docker_is_told_what_to_become(folder: Path) -> None:
    # Modules first: what this interpreter is made of may lie in a folder that only root can read.
    program = (
        "import os, sys, rich.console, rich.table, pillion.lab.up, pillion.lab.doctor, pillion.cli as cli\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.argv = ['pillion', *sys.argv[1:]]; cli.main()"
    )
    folder.chmod(0o755)
    for command in ("up", "doctor"):
        done = subprocess.run(
            [sys.executable, "-c", program, command, "-t", "machine.pillion.yml"],
            cwd=folder,
            env={**os.environ, "HOME": "/nonexistent", "DOCKER_CONFIG": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4, done.stderr
        assert "may not speak to the Docker Engine" in done.stdout + done.stderr
        assert "group docker" in done.stdout + done.stderr


def test_setup_without_root_names_what_is_missing_and_installs_nothing() -> None:
    with (TOP / "scripts" / "setup.sh").open() as script:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s"],
            stdin=script,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 4
    assert "remedy: " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_lab_file_is_one_line_and_exit_code_3(folder: Path) -> None:
    file = folder / "machine.pillion.yml"
    file.write_text(file.read_text().replace("placement:", "placment:"))
    done = pillion(folder, "up")
    assert done.returncode == 3
    assert "machine.pillion.yml:4: placment: unknown key (did you mean placement?)" in one_line(done)
    assert pillion(folder, "doctor").returncode == 3
