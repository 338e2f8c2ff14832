"""Scratch folders are private to this user, and are removed when no process uses them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from orderflow.errors import OutOfResources, SettingInvalid, translate_shortages
from orderflow.pipeline import scratch

Usage = namedtuple("Usage", "total used free")

# Opens a scratch folder in the folder of its argument and keeps it open.
HOLDER = """
import sys, time
from pathlib import Path
from orderflow.pipeline import scratch
scratch._bases = lambda: [Path(sys.argv[1])]
with scratch.open_folder() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""
# Opens and closes many folders. Each must exist while it is in use.
MANY = """
import sys, time
from pathlib import Path
from orderflow.pipeline import scratch
scratch._bases = lambda: [Path(sys.argv[1])]
for _ in range(150):
    with scratch.open_folder() as folder:
        (folder / "file").write_text("x")
        time.sleep(0.001)
        assert (folder / "file").exists()
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scratch, "_bases", lambda: [tmp_path])
    return tmp_path


def test_a_scratch_folder_is_private_and_removed(base: Path) -> None:
    with scratch.open_folder() as folder:
        assert folder.parent == base
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(base.iterdir()) == []


def test_folders_of_killed_sinks_are_removed_and_those_of_live_ones_stay(base: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER, base], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    killed, live = (Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout)
    try:
        holders[0].kill()
        holders[0].wait()
        with scratch.open_folder():
            assert not killed.exists()
            assert live.exists()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_a_process_id_in_a_name_means_nothing(base: Path) -> None:
    live, left = base / "orderflow-scratch-4000000-x", base / f"orderflow-scratch-{os.getppid()}-x"
    for folder in (live, left):
        folder.mkdir()
    lock = os.open(live, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with scratch.open_folder():
        assert live.exists() and not left.exists()
    os.close(lock)


def test_files_of_others_are_not_touched(base: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other_folder = tmp_path_factory.mktemp("elsewhere")
    (other_folder / "file").touch()
    (base / "orderflow-scratch-1-link").symlink_to(other_folder)
    (base / "orderflow-scratch-1-file").touch()
    os.mkfifo(base / "orderflow-scratch-1-fifo")
    (base / "orderflow-scratch-closed-x").mkdir(mode=0)
    with scratch.open_folder():
        assert (other_folder / "file").exists() and (base / "orderflow-scratch-1-file").exists()


def test_another_users_folder_stays(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = base / "orderflow-scratch-x-y"
    theirs.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
    with scratch.open_folder():
        assert theirs.exists()


def test_sinks_that_start_together_do_not_remove_each_others_folders(base: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, base], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [process.communicate()[1] for process in processes] == [""] * 4


def test_the_first_folder_with_enough_room_is_chosen(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {Path("memory"): 1_000_000, Path("disk"): 10**9, Path("other"): 10**10}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free[path]))
    assert scratch.choose(list(free)) == Path("disk")
    free[Path("disk")] = free[Path("other")] = 500_000
    assert scratch.choose(list(free)) == Path("memory")


def test_without_any_folder_the_hint_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda *_: False)

    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(SettingInvalid) as invalid, scratch.open_folder():
        pass
    assert "TMPDIR" in invalid.value.hint


def test_a_full_disk_raises_out_of_resources() -> None:
    full = pytest.raises(OutOfResources, match=r"^It cannot be written: No space left on device\.\nhint: Free some")
    with full, translate_shortages("It cannot be written"), Path("/dev/full").open("w") as file:
        file.write("x")
    with pytest.raises(FileNotFoundError), translate_shortages("It cannot be written"):
        Path("/nowhere/at/all").touch()


def test_a_shortage_of_descriptors_has_its_own_hint() -> None:
    with pytest.raises(OutOfResources, match=r"hint: .*ulimit -n"), translate_shortages("It cannot be read"):
        raise OSError(errno.EMFILE, "Too many open files")
