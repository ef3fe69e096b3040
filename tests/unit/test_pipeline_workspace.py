"""Results get into place whole or not at all, and nothing of others is lost."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from meshwright.errors import DiskFullError, OutputError
from meshwright.workspace import Workspace

NAMES = ("mesh.obj", "previews", "quality.json")


def write_result(folder: Path, text: str) -> None:
    (folder / "mesh.obj").write_text(text)
    (folder / "previews").mkdir()
    (folder / "previews" / "a.png").write_text(text)
    (folder / "quality.json").write_text(json.dumps({"versions": {"meshwright": "0.1.0"}}))


def run(output: Path, text: str, **options: object) -> None:
    with Workspace(output, own_names=NAMES, **options) as workspace:
        write_result(workspace.result, text)
        workspace.commit()


def test_a_new_folder_appears_with_its_parents_and_nothing_beside_it(tmp_path: Path) -> None:
    run(tmp_path / "a" / "b", "one")
    assert (tmp_path / "a" / "b" / "mesh.obj").read_text() == "one"
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["b"]


def test_an_earlier_result_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(output, "one")
    run(output, "two")
    assert (output / "previews" / "a.png").read_text() == "two"
    assert sorted(entry.name for entry in output.iterdir()) == sorted(NAMES)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(tmp_path / "out", "one")
    assert (tmp_path / "out" / "mesh.obj").read_text() == "one"


@pytest.mark.parametrize("with_result", [False, True])
def test_files_of_others_are_refused_then_kept(tmp_path: Path, with_result: bool) -> None:
    output = tmp_path / "out"
    output.mkdir()
    if with_result:
        write_result(output, "one")
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty and not an earlier result \(notes.txt\)") as caught:
        run(output, "two")
    assert "--overwrite" in caught.value.hint
    run(output, "two", overwrite=True)
    assert (output / "notes.txt").read_text() == "mine"
    assert (output / "mesh.obj").read_text() == "two"


def test_files_of_our_names_from_elsewhere_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mesh.obj").write_text("somebody's work")
    with pytest.raises(OutputError, match="not an earlier result"):
        run(output, "two")
    assert (output / "mesh.obj").read_text() == "somebody's work"


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        run(tmp_path / "out", "one", overwrite=True)


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path / "a" / "out", own_names=NAMES) as workspace:
        write_result(workspace.result, "half")
        workspace.checkpoints.mkdir()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_the_earlier_result_alone(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(output, "one")
    with pytest.raises(ValueError), Workspace(output, own_names=NAMES) as workspace:
        (workspace.result / "mesh.obj").write_text("half")
        raise ValueError
    assert (output / "mesh.obj").read_text() == "one"


def test_checkpoints_of_a_killed_run_are_found_again(tmp_path: Path) -> None:
    killed = tmp_path / "out.partial"
    (killed / "checkpoints").mkdir(parents=True)
    (killed / "checkpoints" / "shape.npz").write_text("kept")
    (killed / "result").mkdir()
    (killed / "result" / "mesh.obj").write_text("half")
    (killed / "lock").write_text("")
    with Workspace(tmp_path / "out", own_names=NAMES) as workspace:
        assert (workspace.checkpoints / "shape.npz").read_text() == "kept"
        assert list(workspace.result.iterdir()) == []
    assert not killed.exists()


def test_two_runs_do_not_share_an_output(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Workspace(output, own_names=NAMES):
        with pytest.raises(OutputError, match="Another run is writing"):
            run(output, "two")
        with (tmp_path / "out.partial" / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the refused run has not taken the lock away


def test_a_full_disk_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="MB are free") as caught:
        run(tmp_path / "out", "one", needed_bytes=10**18)
    assert caught.value.details["needed_bytes"] == 10**18
    assert list(tmp_path.iterdir()) == []


def test_a_failed_move_puts_the_earlier_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    run(output, "one")
    import shutil

    real_move = shutil.move

    def move(source: Path, target: Path) -> object:
        if "result" in Path(source).parts and Path(source).name == "quality.json":
            raise OSError(28, "No space left on device")
        return real_move(source, target)

    monkeypatch.setattr("meshwright.workspace.shutil.move", move)
    with pytest.raises(OutputError, match="No space left on device"):
        run(output, "two")
    assert (output / "mesh.obj").read_text() == "one"
    assert (output / "previews" / "a.png").read_text() == "one"
    assert (output / "quality.json").exists()
