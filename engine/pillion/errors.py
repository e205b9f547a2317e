"""Everything that can go wrong, one branch for each world that pillion touches.

    EngineError                     exit code
    ├── ConfigError                 3   the lab file or a trace is wrong: the operator edits it
    ├── MachineError                4   the machine lacks something (Docker, root, a port): the operator provides it
    ├── MecError                    5   the MEC APIs do not answer, or answer what we cannot read
    │   └── MecPayloadError             one payload is wrong: names the field
    ├── HostError                   6   a MEC host fails us
    │   ├── HostUnreachable             no answer: worth another try
    │   ├── HostRefused                 it answered no: another try gives the same
    │   └── StaleEpoch                  a newer engine owns the lab: stop
    ├── GatewayError                7   an Apache gateway cannot be pointed
    ├── UserPlaneError              8   HAProxy cannot be steered
    ├── JournalError                9   the journal cannot be read or written, or another engine holds it
    └── MigrationError              10  a migration did not succeed, or was refused
        ├── PlanError                   a strategy made a plan that breaks an invariant: our bug
        └── InvalidTransition           an event that cannot happen in this state: our bug, carries the story

Exit code 1 is an error of ours (a traceback), 2 a wrong command line.
Each error says in one line what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Root of the tree: what is wrong (`problem`), where (`place`) and what to do (`remedy`)."""

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, place: str = "", remedy: str = "") -> None:
        self.problem = problem
        self.place = place
        self.remedy = remedy
        super().__init__(problem)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        what_now = f" ({self.remedy})" if self.remedy else ""
        # One line, also where the problem is another program's answer of several.
        return " ".join(f"{where}{self.problem}{what_now}".split())


class ConfigError(EngineError):
    """The lab file, a scenario or a trace is wrong."""

    exit_code = 3


class MachineError(EngineError):
    """The machine that pillion runs on lacks something."""

    exit_code = 4


class MecError(EngineError):
    """The MEC APIs do not answer as they should."""

    exit_code = 5


class MecPayloadError(MecError):
    """One payload cannot be read; `place` names the field."""


class HostError(EngineError):
    """A MEC host did not do what was asked; `place` names the host."""

    exit_code = 6


class HostUnreachable(HostError):
    """No answer from the host: worth another try."""


class HostRefused(HostError):
    """The host answered no: another try gives the same."""


class StaleEpoch(HostError):
    """A newer engine owns this lab."""


class GatewayError(EngineError):
    """A gateway cannot be pointed at the sandbox."""

    exit_code = 7


class UserPlaneError(EngineError):
    """The user plane cannot be steered."""

    exit_code = 8


class JournalError(EngineError):
    """The journal cannot be read or written."""

    exit_code = 9


class MigrationError(EngineError):
    """A migration did not succeed, or was refused."""

    exit_code = 10


class PlanError(MigrationError):
    """A strategy made a plan that breaks an invariant."""


class InvalidTransition(MigrationError):
    """An event that cannot happen in this state; the remedy is ours, the story is the evidence."""

    def __init__(self, state: object, event: object) -> None:
        self.state = state
        self.event = event
        super().__init__(f"{event!r} cannot happen in {state!r}")
