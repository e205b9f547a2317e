"""Pointing a gateway: one plain URL becomes one line, and nothing else may become part of Apache's configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillion.errors import GatewayError
from pillion.gateway import CONTAINER, point, sandbox_line


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://10.77.0.30:8000/sbxpillion", "http://10.77.0.30:8000/sbxpillion"),
        ("http://10.77.0.30:8000/sbxpillion/", "http://10.77.0.30:8000/sbxpillion"),
        ("https://try-mec.example.org/sbx9a8b7c6", "https://try-mec.example.org/sbx9a8b7c6"),
        ("https://mec.example.org/a/b-c_d.e~f", "https://mec.example.org/a/b-c_d.e~f"),
        ("http://sandbox", "http://sandbox"),
        ("http://sandbox:65535", "http://sandbox:65535"),
        ("https://mec.example.org/a%20b", "https://mec.example.org/a%20b"),
    ],
)
def test_a_plain_url_becomes_one_line(url: str, kept: str):
    assert sandbox_line(url) == f"Define SANDBOX_URL {kept}\n"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sandbox",
        "ftp://sandbox/x",
        "http://",
        "http:///x",
        "http://sandbox/x\n",
        "http://sandbox/x\nListen 8080",
        "http://sandbox/x\r\nListen 8080",
        "http://sandbox/x\u2028y",
        "http://sandbox/x y",
        " http://sandbox/x",
        'http://sandbox/"x"',
        "http://sandbox/'x'",
        "http://sandbox/\\",
        "http://sandbox/${ENV}",
        "http://sandbox/%{HTTP_HOST}",
        "http://sandbox/$1",
        "http://sandbox/<x>",
        "http://sandbox/#x",
        "http://sandbox/?x=1",
        "http://user:secret@sandbox/x",
        "http://sandbox:0/x",
        "http://sandbox:65536/x",
        "http://sandbox:99999",
        "http://sandbox:port/x",
        "http://sandbox//x",
        "http://sändbox/x",
        "HTTP://sandbox/x",
    ],
)
def test_what_is_no_plain_url_is_refused_with_an_example(url: str):
    with pytest.raises(GatewayError, match="not a sandbox URL") as raised:
        sandbox_line(url)
    assert raised.value.remedy == "http://host:port/name or https://host/name"
    assert raised.value.exit_code == 7
    assert len(str(raised.value).splitlines()) == 1


@given(st.text("abz09:/.-_~%\n\r \"'\\${}<>#?@", max_size=30))
def test_whatever_is_accepted_is_one_line_of_two_words(rest: str):
    try:
        line = sandbox_line(f"http://{rest}")
    except GatewayError:
        return
    assert line.splitlines() == [line[:-1]]
    define, name, url = line.split()
    assert (define, name) == ("Define", "SANDBOX_URL")
    assert not set(url) & set("\"'\\${}<>#?@ ")


class Host:
    """A host that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def write_file(self, container: str, path: str, content: bytes) -> None:
        self.asked.append((container, path, content.decode()))

    async def signal(self, container: str, signal: str) -> None:
        self.asked.append((container, signal))


async def test_the_line_is_written_before_the_gateway_is_told_to_reload():
    host = Host()
    await point(host, "http://10.77.0.30:8000/sbxpillion/")
    assert host.asked == [
        (CONTAINER, "/etc/pillion/sandbox.conf", "Define SANDBOX_URL http://10.77.0.30:8000/sbxpillion\n"),
        (CONTAINER, "USR1"),
    ]


async def test_a_wrong_url_touches_no_gateway():
    host = Host()
    with pytest.raises(GatewayError):
        await point(host, "http://sandbox/x\nListen 8080")
    assert host.asked == []
