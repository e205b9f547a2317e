"""The lab file: ours loads, and each wrong one is a single error with line, key and remedy."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion import config
from pillion.config import LabSettings
from pillion.core.model import HostId, PoaId, ZoneId
from pillion.errors import ConfigError

OURS = Path(__file__).parents[1] / "lab.pillion.yml"

GOOD = """\
lab: test
hosts:
  mec1: {address: 10.77.0.11}
  mec2:
    address: 10.77.0.12
placement:
  default: mec1
  zones: {zone01: mec2}
apps:
  a2:
    image: pillion/a2
    ue: 10.100.0.2
    start: mec1
    port: 3000
    publish: 13000
  a1:
    image: pillion/a1
    ue: 10.100.0.3
    start: mec2
    port: 3001
tracking:
  poll_s: 0.25
"""


def loaded(folder: Path, text: str) -> LabSettings:
    path = folder / "t.pillion.yml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def refusal(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        loaded(folder, text)
    assert raised.value.exit_code == 3
    assert "\n" not in str(raised.value)
    return raised.value


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_our_own_lab_file_loads_as_its_comments_say():
    lab = config.load(OURS)
    (a2,) = lab.app_list()
    assert (a2.id, a2.ue, a2.port, a2.phase_hook, a2.strategy) == ("a2", "10.100.0.2", 3000, "/changePhase", "M2")
    policy = lab.policy()
    assert policy.hosts == {"mec1", "mec2"}
    assert policy.placement.host_for(PoaId("any"), ZoneId("zone01")) == HostId("mec2")
    assert policy.placement.host_for(PoaId("any"), ZoneId("zone02")) == HostId("mec1")
    assert (policy.settle_s, policy.start) == (4, {"a2": "mec1"})


def test_addresses_of_the_lab_s_own_parts_lie_in_its_network(tmp_path: Path):
    lab = loaded(tmp_path, GOOD)
    assert lab.gateway_url == "http://10.77.0.20"
    assert lab.sandbox_url == "http://10.77.0.30:8000/sbxpillion"
    assert lab.sandbox_control_url == "http://10.77.0.30:8001"
    assert [str(lab.user_plane_address), str(lab.ue_address)] == ["10.77.0.40", "10.77.0.50"]


def test_a_sandbox_and_a_gateway_elsewhere_are_taken_by_their_url(tmp_path: Path):
    lab = loaded(tmp_path, GOOD + "sandbox: {url: 'https://sandbox.example/sbxa1/'}\ngateway: http://10.9.9.9:8080/\n")
    assert lab.sandbox_url == "https://sandbox.example/sbxa1"
    assert lab.gateway_url == "http://10.9.9.9:8080"


def test_what_is_left_out_has_the_documented_values(tmp_path: Path):
    lab = loaded(tmp_path, GOOD)
    app = lab.apps["a1"]
    assert (app.strategy, app.volume, app.phase_hook, app.ready, app.publish) == ("M2", None, None, "/ready", None)
    assert (lab.sandbox.scenario, lab.sandbox.speed, lab.tracking.settle_s) == ("monaco", 1.0, 4.0)


def test_a_host_of_one_s_own_may_lie_anywhere_but_its_key_is_always_verified(tmp_path: Path):
    own = "{address: 192.0.2.7, key_file: /k, known_hosts: /kh}"
    lab = loaded(tmp_path, edited("{address: 10.77.0.11}", own))
    assert lab.hosts["mec1"].key_file == Path("/k")


WRONG = {
    "an unknown key, with a suggestion": (
        edited("  poll_s: 0.25", "  pol_s: 0.25"),
        r":22: tracking\.pol_s: unknown key \(did you mean poll_s\?\)",
    ),
    "an unknown key of a host, which is then also missing one": (
        edited("    address: 10.77.0.12", "    adress: 10.77.0.12"),
        r":5: hosts\.mec2\.adress: unknown key \(did you mean address\?\)",
    ),
    "an unknown key that is like no other": (
        edited("  default: mec1", "  default: mec1\n  qqqqqq: 1"),
        r":8: placement\.qqqqqq: unknown key \(known here: default, poas, zones\)",
    ),
    "an unknown key at the top": (GOOD + "tracing: {}\n", r":23: tracing: unknown key \(did you mean tracking\?\)"),
    "a missing setting": (
        edited("    image: pillion/a1\n", ""),
        r":16: apps\.a1\.image: Field required \(see docs/lab-file\.md\)",
    ),
    "no hosts at all": (
        edited("hosts:\n  mec1: {address: 10.77.0.11}\n  mec2:\n    address: 10.77.0.12\n", ""),
        r": hosts: Field required",
    ),
    "an empty list of hosts": (
        edited("hosts:\n  mec1: {address: 10.77.0.11}\n  mec2:\n    address: 10.77.0.12\n", "hosts: {}\n"),
        r":2: hosts: .*at least 1 item",
    ),
    "a default host that does not exist": (
        edited("  default: mec1", "  default: mec9"),
        r":7: placement\.default: no MEC host is called 'mec9'; there are mec1, mec2",
    ),
    "a zone's host that does not exist": (
        edited("zone01: mec2", "zone01: mec9"),
        r":8: placement\.zones\.zone01: no MEC host is called 'mec9'",
    ),
    "a POA's host that does not exist": (
        edited("  default: mec1", "  default: mec1\n  poas:\n    5g-1: mec9"),
        r":9: placement\.poas\.5g-1: no MEC host is called 'mec9'",
    ),
    "a start host that does not exist": (
        edited("    start: mec2", "    start: mec9"),
        r":19: apps\.a1\.start: no MEC host is called 'mec9'",
    ),
    "a URL that is none": (GOOD + "sandbox:\n  url: nowhere\n", r":24: sandbox\.url: .*valid URL.*\(found 'nowhere'\)"),
    "a URL of another kind": (GOOD + "gateway: ftp://10.77.0.20\n", r":23: gateway: URL scheme should be 'http'"),
    "a word where a number is wanted": (edited("port: 3001", "port: many"), r":20: apps\.a1\.port: .*\(found 'many'\)"),
    "a number out of range": (edited("poll_s: 0.25", "poll_s: 0.001"), r":22: tracking\.poll_s: .*\(found 0\.001\)"),
    "a port that is none": (edited("port: 3001", "port: 70000"), r":20: apps\.a1\.port: .*65535 \(found 70000\)"),
    "one port for two apps": (edited("port: 3001", "port: 3000"), r":20: apps\.a1\.port: 3000 is a2's already"),
    "one port of this machine for two apps": (
        edited("port: 3001", "port: 3001\n    publish: 13000"),
        r":21: apps\.a1\.publish: 13000 is a2's already",
    ),
    "a host's address outside the network": (
        edited("address: 10.77.0.12", "address: 10.78.0.12"),
        r":5: hosts\.mec2\.address: 10\.78\.0\.12 is not in the lab's 10\.77\.0\.0/24",
    ),
    "one address for two hosts": (
        edited("address: 10.77.0.12", "address: 10.77.0.11"),
        r":5: hosts\.mec2\.address: 10\.77\.0\.11 is taken",
    ),
    "the gateway's address for a host": (
        edited("address: 10.77.0.12", "address: 10.77.0.20"),
        r":5: hosts\.mec2\.address: 10\.77\.0\.20 is taken by another part of the lab",
    ),
    "an address that is none": (edited("10.77.0.12", "10.77.0"), r":5: hosts\.mec2\.address: .*\(found '10\.77\.0'\)"),
    "a network that is too small": (GOOD + "network: 10.77.0.0/30\n", r":23: network: must be a private network"),
    "a public network": (GOOD + "network: 8.8.8.0/24\n", r":23: network: must be a private network"),
    "a network that is none": (GOOD + "network: everywhere\n", r":23: network: .*\(found 'everywhere'\)"),
    "an unknown strategy": (
        edited("    start: mec2", "    start: mec2\n    strategy: M9"),
        r":20: apps\.a1\.strategy: 'M9' is none of M1, M2, M3",
    ),
    "a key file without known hosts": (
        edited("    address: 10.77.0.12", "    address: 10.77.0.12\n    key_file: /k"),
        r":4: hosts\.mec2: key_file and known_hosts belong together: a host's key is always verified",
    ),
    "known hosts without a key file": (
        edited("    address: 10.77.0.12", "    address: 10.77.0.12\n    known_hosts: /k"),
        r":4: hosts\.mec2: key_file and known_hosts belong together",
    ),
    "a name that Docker would not take": (edited("  a1:", "  A 1:"), r":16: apps\.A 1: .*pattern"),
    "a mount point that is no path": (
        edited("    start: mec2", "    start: mec2\n    volume: data"),
        r":20: apps\.a1\.volume: .*\(found 'data'\)",
    ),
    "a key twice": (GOOD + "lab: again\n", r":23: not YAML: found duplicate key"),
    "broken YAML": (edited("hosts:", "hosts: ]"), r":2: not YAML"),
    "two documents": (GOOD + "---\nlab: again\n", r": not YAML"),
    "a control character": (GOOD + "# \x07\n", r": not YAML"),
    "an empty file": ("", r"empty, or not a mapping of settings \(see docs/lab-file\.md\)"),
    "a list": ("- lab: test\n", r"empty, or not a mapping"),
    "a word": ("lab", r"empty, or not a mapping"),
    "a value that is nothing": (edited("lab: test", "lab:"), r":1: lab: .*\(found None\)"),
    "a key that is a number": (GOOD + "7: seven\n", r"7"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_lab_file_is_one_error_with_line_key_and_remedy(tmp_path: Path, text: str, said: str):
    error = refusal(tmp_path, text)
    assert str(error).startswith(str(tmp_path / "t.pillion.yml")), error
    assert re.search(said, str(error)), error


def test_every_error_with_a_key_says_what_to_do_or_what_was_found(tmp_path: Path):
    for name, (text, _) in WRONG.items():
        error = refusal(tmp_path, text)
        assert error.remedy or "not YAML" in error.problem, name


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "t.pillion.yml"
    path.write_bytes(b"lab: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not YAML"):
        config.load(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)


def test_a_network_condition_is_named_or_spelt_out_and_by_default_there_is_none(tmp_path: Path):
    assert loaded(tmp_path, GOOD).condition is None
    for text, rate_mbit, delay_ms, name in [
        ("N1", 1000, 0, "N1"),
        ("N2", 100, 0, "N2"),
        ("{rate_mbit: 100}", 100, 0, "N2"),
        ("{rate_mbit: 50.5, delay_ms: 10}", 50.5, 10, "50.5 Mbit/s, 10 ms"),
    ]:
        condition = loaded(tmp_path, f"condition: {text}\n{GOOD}").condition
        assert condition is not None
        assert (condition.rate_mbit, condition.delay_ms, condition.name) == (rate_mbit, delay_ms, name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("N3", r"t\.pillion\.yml:1: condition: neither N1 nor N2, nor rate_mbit and delay_ms \(found 'N3'\)"),
        ("{rate: 5}", r"t\.pillion\.yml:1: condition\.rate: unknown key \(did you mean rate_mbit\?\)"),
        ("{delay_ms: 5}", r"condition\.rate_mbit: Field required"),
        ("{rate_mbit: 0}", r"condition\.rate_mbit: .* greater than or equal to 1"),
        ("100", r"condition: .* valid dictionary"),
    ],
)
def test_a_wrong_network_condition_is_refused(tmp_path: Path, text: str, says: str):
    assert re.search(says, str(refusal(tmp_path, f"condition: {text}\n{GOOD}")))


def test_a_missing_file_is_refused_with_the_option_to_name_another(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"there is no such lab file \(name one with -t FILE\)"):
        config.find(tmp_path / "none.pillion.yml")


def test_the_only_lab_file_of_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no lab file here"):
        config.find(None)
    (tmp_path / "one.pillion.yml").write_text(GOOD)
    assert config.find(None) == Path("one.pillion.yml")
    (tmp_path / "two.pillion.yml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"2 lab files here .*name one with -t FILE"):
        config.find(None)
    assert config.find(Path("two.pillion.yml")) == Path("two.pillion.yml")


KEYS = ["lab", "hosts", "apps", "placement", "mec1", "a2", "address", "port", "url", "sandbox", "radius_m", "tracking"]
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(KEYS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=4)), inner, max_size=4),
    ),
    max_leaves=12,
)
EDITS = st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.text("ab: -{}[]&*!|>'\"#%@`\n\t,0é", max_size=6))


@given(st.one_of(DOCUMENTS.map(json.dumps), EDITS.map(lambda e: GOOD[: e[0]] + e[2] + GOOD[e[0] + e[1] :])))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_lab_file_it_is_loaded_or_refused(tmp_path: Path, text: str):
    with suppress(ConfigError):
        loaded(tmp_path, text)


def test_the_json_schema_knows_every_setting_and_refuses_unknown_ones():
    schema = LabSettings.model_json_schema()
    assert set(schema["properties"]) == set(LabSettings.model_fields)
    assert schema["required"] == ["lab", "hosts", "placement"]
    models = [schema, *schema["$defs"].values()]
    assert all(model["additionalProperties"] is False for model in models if model["type"] == "object")
    assert json.dumps(schema)


def test_every_way_to_make_a_plan_is_found_and_the_first_start_is_no_strategy():
    assert "M2" in config.strategies()
    assert set(config.all_plans()) - set(config.strategies()) == {"deploy", "restart"}
