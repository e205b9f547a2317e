"""The procedure by hand: which line is typed where, and what the study makes of their times."""

from pathlib import Path

import pytest

from pillion import config
from pillion.core.model import App, AppId, Epoch, HostId, Instance
from pillion.core.plan import Group, Place
from pillion.errors import HostRefused
from pillion.experiments import bench, manual
from pillion.experiments.bench_report import Way
from pillion.experiments.manual import Line, Typed
from pillion.lab.assets import assets

MEC1, MEC2 = HostId("mec1"), HostId("mec2")
ADDRESSES = {MEC1: "10.81.0.11", MEC2: "10.81.0.12"}
LAB = config.load(assets() / "compose" / bench.LAB_FILE)
APP = next(app for app in LAB.app_list() if app.id == "a2-exec")
SOURCE, TARGET = Instance(APP.id, MEC1, Epoch(1)), Instance(APP.id, MEC2, Epoch(2))


def lines(app: App = APP) -> list[Line]:
    options = manual.run_options(app, TARGET, "bench", "pillion")
    return manual.procedure(app, SOURCE, TARGET, ADDRESSES, options)


def test_every_line_is_typed_on_the_host_it_belongs_to() -> None:
    first_words = [(line.on, line.place, line.text.split()[:2]) for line in lines()]
    assert [(on, words) for on, place, words in first_words if place is not Place.TRANSFER] == [
        (MEC1, ["printf", "'GET"]),
        (MEC1, ["docker", "commit"]),
        (MEC1, ["docker", "save"]),
        (MEC2, ["docker", "load"]),
        (MEC1, ["docker", "stop"]),
        (MEC1, ["tar", "-C"]),
        (MEC2, ["docker", "volume"]),
        (MEC2, ["tar", "-C"]),
        (MEC2, ["docker", "run"]),
    ]
    assert [(on, words[0]) for on, place, words in first_words if place is Place.TRANSFER] == [
        (MEC1, "scp"),
        (MEC2, "nc"),
        (MEC1, "dd"),
        (MEC2, "wait"),
    ]


def test_nothing_that_stops_the_app_is_typed_before_relocation() -> None:
    groups = [line.group for line in lines()]
    assert groups == sorted(groups, key=[Group.PRE_RELOCATION, Group.RELOCATION].index)
    stop = next(line for line in lines() if line.text.startswith("docker stop"))
    assert stop.group is Group.RELOCATION


def test_the_target_gets_what_the_engine_gives_a_container() -> None:
    options = manual.run_options(APP, TARGET, "bench", "pillion")
    for wanted in (
        "--name a2-exec.2",
        "--network pillion",
        "--publish 3001:3001",
        "--volume a2-exec.2.dv:/data",
        "--env PILLION_INSTANCE=a2-exec.2",
        "--env PILLION_EPOCH=2",
        "--env PILLION_PORT=3001",
        "--label pillion.lab=bench",
        "--label pillion.app=a2-exec",
    ):
        assert wanted in options


def test_the_studys_downtime_runs_from_docker_stop_until_the_app_has_started() -> None:
    typed = [Typed(line, began_s=float(number), seconds=0.5) for number, line in enumerate(lines())]
    stop = next(n for n, line in enumerate(lines()) if line.text.startswith("docker stop"))
    assert manual.stop_to_start_s(typed) == len(typed) - 1 + 0.5 - stop


def test_lines_of_one_phase_and_place_add_up() -> None:
    spent = manual.phases([Typed(line, 0.0, 0.5) for line in lines()])
    assert spent == {
        (Group.PRE_RELOCATION, Place.SOURCE): 1.5,
        (Group.PRE_RELOCATION, Place.TRANSFER): 0.5,
        (Group.PRE_RELOCATION, Place.TARGET): 0.5,
        (Group.RELOCATION, Place.SOURCE): 1.0,
        (Group.RELOCATION, Place.TRANSFER): 1.5,
        (Group.RELOCATION, Place.TARGET): 1.5,
    }


def test_the_benchs_lab_has_the_app_once_for_each_way() -> None:
    assert set(LAB.apps) == {bench.APPS[way] for way in Way}
    assert LAB.apps[AppId("a2-exec")].image == LAB.apps[AppId("a2")].image


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
