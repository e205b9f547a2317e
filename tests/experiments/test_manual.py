"""The procedure by hand: which line is typed where, and what the study makes of their times."""

from pathlib import Path

import pytest

from pillion import config
from pillion.core.model import App, Epoch, HostId, Instance
from pillion.core.plan import Group, Place
from pillion.errors import HostRefused
from pillion.experiments import bench, manual
from pillion.experiments.manual import Line, Typed
from pillion.lab.assets import assets

MEC1, MEC2 = HostId("mec1"), HostId("mec2")
ADDRESSES = {MEC1: "10.81.0.11", MEC2: "10.81.0.12"}
LAB = config.load(assets() / "compose" / bench.LAB_FILE)
APPS = {str(app.id): app for app in LAB.app_list()}
A2, A3 = APPS["a2-manual"], APPS["a3-manual"]


def lines(strategy: str, app: App = A2) -> list[Line]:
    source, target = Instance(app.id, MEC1, Epoch(1)), Instance(app.id, MEC2, Epoch(2))
    options = manual.run_options(app, target, "bench", "pillion")
    return manual.procedure(strategy, app, source, target, ADDRESSES, options)


def typed_on(strategy: str, app: App = A2) -> list[tuple[str, str]]:
    """Host and the words that say what a line does."""
    return [
        (line.on, " ".join(line.text.split()[: 3 if "checkpoint" in line.text else 2])) for line in lines(strategy, app)
    ]


VOLUME = [
    ("mec1", "tar -C"),
    ("mec2", "nc -l"),
    ("mec1", "dd if=dv.tar"),
    ("mec2", "wait $!"),
    ("mec2", "docker volume"),
]
PROCEDURES = {
    "M1": [
        *(("mec1", "printf 'GET"), ("mec1", "docker export"), ("mec1", "scp i.tar"), ("mec2", "docker import")),
        *(("mec1", "docker stop"), *VOLUME, ("mec2", "tar -C"), ("mec2", "docker run")),
    ],
    "M2": [
        *(("mec1", "printf 'GET"), ("mec1", "docker commit"), ("mec1", "docker save"), ("mec1", "scp i.tar")),
        *(("mec2", "docker load"), ("mec1", "docker stop"), *VOLUME, ("mec2", "tar -C"), ("mec2", "docker run")),
    ],
    "M3": [
        *(("mec1", "docker commit"), ("mec1", "docker save"), ("mec1", "docker checkpoint create"), ("mec1", "scp -r")),
        *(
            ("mec2", "docker load"),
            ("mec1", "docker checkpoint create"),
            ("mec1", "docker stop"),
            ("mec1", "rsync -az"),
        ),
        *(
            *VOLUME,
            ("mec2", "tar -C"),
            ("mec2", "docker create"),
            ("mec2", "mkdir -p $(docker"),
            ("mec2", "docker start --checkpoint"),
        ),
    ],
}


@pytest.mark.parametrize(("strategy", "expected"), PROCEDURES.items())
def test_every_line_is_typed_on_the_host_it_belongs_to(strategy: str, expected: list[tuple[str, str]]) -> None:
    said = [(on, words) for on, words in typed_on(strategy)]
    assert [(on, words.split()[0]) for on, words in said] == [(on, words.split()[0]) for on, words in expected]
    assert [words for _, words in said if words.startswith("docker")] == [
        words for _, words in expected if words.startswith("docker")
    ]


def test_an_app_without_a_dv_has_none_copied() -> None:
    for strategy in PROCEDURES:
        assert not [line for line in lines(strategy, A3) if "dv.tar" in line.text or "docker volume" in line.text]


def test_an_imported_image_gets_its_command_by_hand() -> None:
    assert lines("M1", A3)[-1].text.endswith("pillion-bench/a3-manual:m memcached -u root -m 256 -p 11212")
    assert lines("M1")[-1].text.endswith("pillion-bench/a2-manual:m sh -c 'python3 /app/a2.py'")
    assert lines("M2")[-1].text.endswith("pillion-bench/a2-manual:m")


@pytest.mark.parametrize("strategy", PROCEDURES)
def test_nothing_that_stops_the_app_is_typed_before_relocation(strategy: str) -> None:
    groups = [line.group for line in lines(strategy)]
    assert groups == sorted(groups, key=[Group.PRE_RELOCATION, Group.RELOCATION].index)
    ahead = [line.text for line in lines(strategy) if line.group is Group.PRE_RELOCATION]
    assert not [text for text in ahead if "docker stop" in text]
    assert all("--leave-running" in text for text in ahead if "docker checkpoint" in text)


def test_the_target_gets_what_the_engine_gives_a_container() -> None:
    target = Instance(A2.id, MEC2, Epoch(2))
    options = manual.run_options(A2, target, "bench", "pillion")
    for wanted in (
        "--name a2-manual.2",
        "--network pillion",
        "--publish 3011:3011",
        "--volume a2-manual.2.dv:/data",
        "--env PILLION_INSTANCE=a2-manual.2",
        "--env PILLION_EPOCH=2",
        "--env PILLION_PORT=3011",
        "--label pillion.lab=bench",
        "--label pillion.app=a2-manual",
    ):
        assert wanted in options
    assert "--volume" not in manual.run_options(A3, target, "bench", "pillion")


@pytest.mark.parametrize("strategy", PROCEDURES)
def test_the_studys_downtime_runs_from_the_stop_until_the_app_has_started(strategy: str) -> None:
    typed = [Typed(line, began_s=float(number), seconds=0.5) for number, line in enumerate(lines(strategy))]
    stop = next(n for n, line in enumerate(lines(strategy)) if line.group is Group.RELOCATION)
    assert manual.stop_to_start_s(typed) == len(typed) - 1 + 0.5 - stop


def test_lines_of_one_phase_and_place_add_up() -> None:
    spent = manual.phases([Typed(line, 0.0, 0.5) for line in lines("M2")])
    assert spent == {
        (Group.PRE_RELOCATION, Place.SOURCE): 1.5,
        (Group.PRE_RELOCATION, Place.TRANSFER): 0.5,
        (Group.PRE_RELOCATION, Place.TARGET): 0.5,
        (Group.RELOCATION, Place.SOURCE): 1.0,
        (Group.RELOCATION, Place.TRANSFER): 1.5,
        (Group.RELOCATION, Place.TARGET): 1.5,
    }


def test_the_benchs_lab_has_each_app_once_for_each_way() -> None:
    assert set(LAB.apps) == {name for app in bench.APPS for name in (app, f"{app}-manual")}


class LocalTerminal(manual.Terminal):
    """A shell on this machine, in place of one in a container."""

    def __init__(self) -> None:
        super().__init__(MEC1, "")
        self.command = ("sh",)


async def test_a_line_is_over_when_the_shell_is_back(tmp_path: Path) -> None:
    async with LocalTerminal() as terminal:
        _, seconds, said = await terminal.type(f"cd {tmp_path}; sleep 0.2; echo done")
        assert seconds >= 0.2
        assert said == "done"
        assert (await terminal.type("pwd"))[2] == str(tmp_path)


async def test_a_line_may_leave_work_behind_and_a_later_one_wait_for_it() -> None:
    async with LocalTerminal() as terminal:
        _, seconds, _ = await terminal.type("sleep 0.3 > /dev/null &")
        assert seconds < 0.3
        _, waited_s, _ = await terminal.type("wait $!")
        assert waited_s > 0.1


async def test_a_line_that_fails_says_what_it_said() -> None:
    async with LocalTerminal() as terminal:
        with pytest.raises(HostRefused, match="no such thing"):
            await terminal.type("echo no such thing; false")
        assert (await terminal.type("echo still here"))[2] == "still here"
