"""Many layers made one: what an engine makes of the one is what it makes of the many."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion.hosts.helper import layers
from pillion.hosts.helper.images import with_tag
from tests.hosts.helper.ends import paths

Entry = tuple[str, str]
"""Kind and content: ("file", bytes), ("folder", ""), ("link", target)."""
Tree = dict[str, Entry]


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """What an app does to its filesystem between two commits."""
    kinds = st.sampled_from(["file", "folder", "delete", "hardlink", "symlink"])
    return draw(st.lists(st.tuples(kinds, paths(), st.text("xyz", max_size=3)), max_size=8))


class Disk:
    """A filesystem with hard links, and the overlay layer that its changes make."""

    def __init__(self) -> None:
        self.tree: dict[str, list[str]] = {}

    def apply(self, edits: list[tuple[str, str, str]]) -> None:
        for kind, path, content in edits:
            parent = path.rpartition("/")[0]
            if parent and self.tree.get(parent, [""])[0] != "folder":
                continue
            if kind == "delete" or (kind in ("file", "symlink", "hardlink") and path in self.tree):
                for gone in [p for p in self.tree if p == path or p.startswith(path + "/")]:
                    del self.tree[gone]
            if kind == "file":
                self.tree[path] = ["file", content]
            elif kind == "symlink":
                self.tree[path] = ["link", content or "x"]
            elif kind == "folder" and self.tree.get(path, [""])[0] != "folder":
                self.tree[path] = ["folder", ""]
            elif kind == "hardlink":
                files = [p for p in sorted(self.tree) if self.tree[p][0] == "file"]
                if files:
                    self.tree[path] = self.tree[files[len(content) % len(files)]]

    def copy(self) -> Disk:
        """The same files; as in overlayfs, what is then written is a copy, and hard links to older files end."""
        made = Disk()
        inodes = {id(entry): list(entry) for entry in self.tree.values()}
        made.tree = {path: inodes[id(entry)] for path, entry in self.tree.items()}
        return made


def layer(before: Disk, after: Disk, replaced: set[str], out: Path) -> None:
    """The layer that leads from one to the other. `replaced`: folders made anew, whose older content is hidden."""
    with tarfile.open(out, "w") as archive:
        inodes: dict[int, str] = {}
        for path, entry in sorted(after.tree.items()):
            kind, content = entry
            is_hidden = path in replaced or any(path.startswith(folder + "/") for folder in replaced)
            is_changed = path not in before.tree or before.tree[path] != entry
            is_new = is_hidden or is_changed or kind == "folder" or id(entry) in inodes
            if not is_new:
                continue
            member = tarfile.TarInfo(path)
            if kind == "folder":
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
                if path in replaced:
                    archive.addfile(tarfile.TarInfo(f"{path}/.wh..wh..opq"))
            elif kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            elif id(entry) in inodes:
                member.type, member.linkname = tarfile.LNKTYPE, inodes[id(entry)]
                archive.addfile(member)
            else:
                inodes[id(entry)] = path
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
        for path in sorted(set(before.tree) - set(after.tree)):
            parent, _, name = path.rpartition("/")
            if not parent or after.tree.get(parent, [""])[0] == "folder":
                archive.addfile(tarfile.TarInfo(f"{parent}/.wh.{name}".lstrip("/")))


def unpacked(tree: Tree, path: Path) -> Tree:
    """What an engine makes of a layer on top of `tree`. Source: OCI image specification v1.1, layer.md."""
    made = dict(tree)
    added: set[str] = set()

    def remove(path: str, *, itself: bool = True) -> None:
        for gone in [p for p in made if p.startswith(path + "/") or (itself and p == path)]:
            if gone not in added:
                del made[gone]

    with tarfile.open(path) as archive:
        members = list(archive)
        for member in members:
            parent, _, name = member.name.rpartition("/")
            if name == ".wh..wh..opq":
                remove(parent, itself=False)
            elif name.startswith(".wh."):
                remove(f"{parent}/{name[4:]}".lstrip("/"))
        for member in members:
            name = member.name.rpartition("/")[2]
            if name.startswith(".wh."):
                continue
            if not (member.isdir() and made.get(member.name, ("", ""))[0] == "folder"):
                remove(member.name)
            added.add(member.name)
            if member.isdir():
                made[member.name] = ("folder", "")
            elif member.issym():
                made[member.name] = ("link", member.linkname)
            elif member.islnk():
                made[member.name] = made[member.linkname]
            else:
                content = archive.extractfile(member)
                assert content is not None
                made[member.name] = ("file", content.read().decode())
    return made


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(edits(), min_size=2, max_size=5))
def test_merged_layers_mean_the_same_as_the_layers(tmp_path: Path, history: list[list[tuple[str, str, str]]]) -> None:
    disk, stack = Disk(), []
    for number, changes in enumerate(history):
        after = disk.copy()
        after.apply(changes)
        removed = {path for kind, path, _ in changes if kind in ("delete", "file", "symlink", "hardlink")}
        replaced = {p for p in after.tree if p in removed or any(p.startswith(r + "/") for r in removed)}
        stack.append(tmp_path / f"layer-{number}")
        layer(disk, after, replaced, stack[-1])
        disk = after
    wanted = {path: (kind, content) for path, (kind, content) in disk.tree.items()}
    original, *above = stack
    base = unpacked({}, original)
    stacked = base
    for one in above:
        stacked = unpacked(stacked, one)
    assert stacked == wanted, "the test's own layers are wrong"
    with (tmp_path / "merged").open("wb") as out:
        layers.merge(above, out)
    assert unpacked(base, tmp_path / "merged") == wanted
    with (tmp_path / "again").open("wb") as out:
        layers.merge(above, out)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "merged").read_bytes()


def test_a_hard_link_keeps_its_bytes_when_its_first_name_is_replaced(tmp_path: Path) -> None:
    low, high, out = (tmp_path / name for name in ("low", "high", "out"))
    with tarfile.open(low, "w") as archive:
        member = tarfile.TarInfo("a")
        member.size, member.mode, member.pax_headers = 3, 0o4755, {"SCHILY.xattr.user.k": "v\udcff"}
        archive.addfile(member, io.BytesIO(b"old"))
        for name in ("b", "c", "n" * 200):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = tarfile.LNKTYPE, "a", 0o4755
            archive.addfile(member)
    with tarfile.open(high, "w") as archive:
        member = tarfile.TarInfo("a")
        member.size, member.mtime = 3, 1.25
        archive.addfile(member, io.BytesIO(b"new"))
    with out.open("wb") as file:
        layers.merge([low, high], file)
    with tarfile.open(out) as archive:
        members = {member.name: member for member in archive}
        contents = {name: archive.extractfile(name) for name in members}
    assert set(members) == {"a", "b", "c", "n" * 200}
    assert members["a"].mtime == 1.25
    assert members["b"].isreg()
    assert members["b"].mode == 0o4755
    assert members["b"].pax_headers["SCHILY.xattr.user.k"] == "v\udcff"
    assert (members["c"].linkname, members["n" * 200].linkname) == ("b", "b")
    assert contents["b"] is not None


@pytest.mark.parametrize(("name", "full"), [("a", "a:latest"), ("a:1", "a:1"), ("host:5000/a", "host:5000/a:latest")])
def test_an_image_name_without_a_tag_means_latest(name: str, full: str) -> None:
    assert with_tag(name) == full
