"""An overlay's upper folder as a layer, also while a container writes to it."""

import os
import tarfile
from pathlib import Path

import pytest

from pillion.hosts.helper import overlay


def names(layer: Path) -> list[str]:
    with tarfile.open(layer) as tar:
        return tar.getnames()


def test_a_folder_without_anything_is_no_layer(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    assert not overlay.write_layer(tmp_path / "upper", tmp_path / "layer")


def test_what_goes_while_it_is_read_is_left_out_and_the_rest_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = tmp_path / "upper"
    (upper / "gone").mkdir(parents=True)
    (upper / "gone/inside").write_text("gone")
    (upper / "a").write_text("twice")
    (upper / "b").hardlink_to(upper / "a")
    (upper / "c").hardlink_to(upper / "a")
    really = os.lstat

    def lstat(path: Path) -> os.stat_result:
        """The app removes the first name of a file just after it was looked at, and a folder before."""
        found = really(path)
        if path == upper / "a":
            path.unlink()
            (upper / "gone/inside").unlink()
            (upper / "gone").rmdir()
        return found

    monkeypatch.setattr(overlay.os, "lstat", lstat)
    assert overlay.write_layer(upper, tmp_path / "layer")
    assert names(tmp_path / "layer") == ["b", "c"]
    with tarfile.open(tmp_path / "layer") as tar:
        whole, link = tar.getmember("b"), tar.getmember("c")
        assert (whole.type, whole.size) == (tarfile.REGTYPE, 5)
        assert (link.type, link.linkname) == (tarfile.LNKTYPE, "b")


def test_a_folder_that_is_not_there_is_no_empty_layer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        overlay.write_layer(tmp_path / "nothing", tmp_path / "layer")
