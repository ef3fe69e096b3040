"""The command line as a user and as a program sees it: exit codes, streams, messages, never a stack trace."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import meshwright
from meshwright.ahead import Ahead
from meshwright.cli import app as program
from meshwright.cli import console
from meshwright.cli.app import app
from meshwright.cli.doctor import PACKAGES, examine
from meshwright.errors import (
    CameraError,
    Cancelled,
    DeviceError,
    DiskFullError,
    InputError,
    MeshwrightError,
    OutputError,
    VramError,
    WeightsNotInstalledError,
)
from meshwright.progress import Plan, Stage

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def last_event(result: Result) -> dict[str, object]:
    event: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return event


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"meshwright {meshwright.__version__}\n"


@pytest.mark.parametrize("command", ["reconstruct", "evaluate", "synth", "bench", "doctor"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert command in run("--help").stdout
    assert f"meshwright {command}" in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["reconstruct", "{here}/none", "-o", "{here}/out"], 2, "there is no such folder or file [input.missing]"),
        (["reconstruct", "{here}/empty", "-o", "{here}/out"], 2, "input"),
        (["reconstruct", "{here}/empty", "-o", "{here}/out", "--model", "nerf"], 2, "model='nerf' is not known."),
        (["reconstruct", "{here}/empty", "-o", "{here}/out", "--faces", "1"], 2, "faces=1 is not between"),
        (["reconstruct", "{here}/empty", "-o", "{here}/out", "--device", "cuda"], 6, "CUDA is not available"),
        (["reconstruct", "{here}/empty", "-o", "{here}/full"], 4, "not empty and not an earlier result"),
        (["reconstruct", "{here}/empty", "-o", "{here}/empty/out"], 2, "lie inside each other"),
        (["evaluate", "{here}/mesh.obj"], 2, "nothing to compare with"),
        (["evaluate", "{here}/mesh.obj", "--truth", "{here}/mesh.obj"], 2, "There is no mesh file 'mesh.obj'"),
        (["evaluate", "{here}/mesh.obj", "--truth", "x.ply", "--cameras", "c.json"], 2, "need --views"),
        (["synth"], 2, "No output folder was given"),
        (["synth", "{here}/new", "--object", "unicorn"], 2, "There is no object 'unicorn'"),
        (["synth", "{here}/full"], 4, "is there and not empty"),
        (["synth", "{here}/new", "--studio"], 2, "need --disturb"),
        (["synth", "{here}/new", "--disturb", "--posed", "9"], 2, "Only six views can be disturbed"),
        (["synth", "{here}/new", "--disturb", "--from", "{here}/empty"], 2, "has no views/front.png"),
        (["bench", "--repeat", "0"], 2, "repeat=0 is not at least 1"),
        (["bench", "--model", "nerf"], 2, "model='nerf' is not known."),
    ],
)
def test_faults_end_with_a_message_a_hint_and_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.setattr("meshwright.device._cuda_device_count", lambda: 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    filled = [argument.format(here=tmp_path) for argument in arguments]
    result = run(*filled)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert re.search(r"^error: ", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before

    as_json = run(*filled, "--json")
    assert as_json.exit_code == code
    assert as_json.stderr == ""
    event = last_event(as_json)
    assert event["event"] == "error"
    assert message.removesuffix(" [input.missing]") in str(event["message"])
    assert sorted(tmp_path.rglob("*")) == before


def test_views_read_ahead_end_with_the_same_message_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with a GPU, where another process has met the fault before."""
    begun: list[Ahead] = []

    def ahead(source: Path, options: dict[str, object]) -> Ahead:
        begun.append(Ahead(source, options))
        return begun[-1]

    monkeypatch.setattr("meshwright.cli.reconstruct.open_early", lambda device: object())
    monkeypatch.setattr("meshwright.cli.reconstruct.Ahead", ahead)
    result = run("reconstruct", str(tmp_path), "-o", str(tmp_path.parent / "out"), "--device", "cpu")
    assert result.exit_code == 2, result.output
    assert "error: " in result.stderr
    assert len(begun) == 1
    assert begun[0]._process.returncode is not None


def test_usage_errors_are_code_2() -> None:
    assert run("reconstruct").exit_code == 2
    assert run("reconstruct", "in", "-o", "out", "--quality", "best").exit_code == 2
    assert run("paint").exit_code == 2


EXIT_CODES = {
    InputError: 2,
    CameraError: 3,
    OutputError: 4,
    DiskFullError: 4,
    WeightsNotInstalledError: 5,
    DeviceError: 6,
    VramError: 6,
    Cancelled: 130,
    KeyboardInterrupt: 130,
    MeshwrightError: 1,
}


@pytest.mark.parametrize("error", EXIT_CODES)
def test_exit_codes_are_those_of_the_manual(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("it broke")

    monkeypatch.setattr("meshwright.cli.doctor.examine", fail)
    assert run("doctor").exit_code == EXIT_CODES[error]
    manual = (ROOT / "docs" / "cli.md").read_text()
    assert f"| {EXIT_CODES[error]} |" in manual


def test_an_unexpected_fault_is_one_line_and_a_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("meshwright.cli.doctor.examine", fail)
    result = run("doctor")
    assert result.exit_code == 70
    assert "Unexpected ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.output
    (log,) = tmp_path.glob("meshwright-error-*.log")
    assert str(log) in result.stderr
    assert "secret detail" in log.read_text()


def test_doctor_finds_this_environment_healthy() -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "Ready to reconstruct" in result.stdout
    event = last_event(run("doctor", "--json"))
    assert event["healthy"] is True
    names = {finding["name"] for finding in event["findings"]}
    assert {"Python", "cpu", "torch", "hull", "reconviagen"} <= names


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "meshwright-missing", "meshwright_missing")
    (finding,) = [item for item in examine() if item.state == "missing"]
    assert finding.advice == "pip install meshwright-missing"
    result = run("doctor")
    assert result.exit_code == 1
    assert "Something that is needed is missing" in result.stdout


def test_doctor_knows_every_requirement() -> None:
    from importlib.metadata import requires

    names = {re.split(r"[<>=;\[ ]", item)[0] for item in requires("meshwright") or () if "extra ==" not in item}
    assert names == set(PACKAGES)


@pytest.mark.slow
def test_synth_then_evaluate_the_truth_against_itself(tmp_path: Path) -> None:
    made = run("synth", tmp_path / "mug", "--object", "mug", "--size", 96, "--depth", "metric")
    assert made.exit_code == 0, made.output
    truth, views = tmp_path / "mug" / "gt_mesh.ply", tmp_path / "mug" / "transforms_test.json"
    result = run("evaluate", truth, "--truth", truth, "--views", views, "--report", tmp_path / "a.html", "--json")
    assert result.exit_code == 0, result.output
    event = last_event(result)
    assert event["geometry"]["fscore_0.01"] > 0.999  # points drawn twice from one surface
    assert event["views"]["mean"]["silhouette_iou"] > 0.95
    assert event["views"]["views"][0]["name"] == "r_00"
    assert (tmp_path / "a.html").stat().st_size > 0
    assert "normal consistency" in run("evaluate", truth, "--truth", truth).stdout
    assert run("evaluate", truth, "--views", tmp_path / "mug" / "views").exit_code == 3

    disturbed = run("synth", tmp_path / "untidy", "--disturb", "--from", tmp_path / "mug", "--mirror", "top")
    assert disturbed.exit_code == 0, disturbed.output
    assert (tmp_path / "untidy" / "views" / "top.png").is_file()


@pytest.mark.slow
def test_bench_reports_every_stage(tmp_path: Path) -> None:
    made = run("synth", tmp_path / "mug", "--object", "mug", "--size", 96, "--depth", "metric")
    assert made.exit_code == 0, made.output
    result = run("bench", tmp_path / "mug", "--repeat", 1, "--json")
    assert result.exit_code == 0, result.output
    event = last_event(result)
    assert {"read", "cameras", "shape", "texture", "judge"} <= set(event["median_seconds"])
    assert event["median_total_seconds"] > 0
    assert event["device"]["device"] in ("cpu", "cuda:0")
    percents = [json.loads(line)["percent"] for line in result.stdout.splitlines()[:-1]]
    assert percents == sorted(percents)


def test_synth_lists_objects() -> None:
    result = run("synth", "--list")
    assert "toy_car" in result.stdout.split()
    assert "toy_car" in last_event(run("synth", "--list", "--json"))["objects"]


PLAN = Plan([Stage(name="a", title="First", share=1), Stage(name="b", title="Second", share=1)])


def test_plain_progress_is_a_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with console.show_progress(PLAN, as_json=False) as monitor:
        for percent, step in ((0, "First"), (10, "step"), (50, "Second: taken from an earlier run"), (100, "Done")):
            monitor.report(percent, step)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "[  0 %] First\n[ 50 %] Second: taken from an earlier run\n"


def test_json_progress_is_a_line_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    with console.show_progress(PLAN, as_json=True) as monitor:
        for percent in (0, 1, 2, 50, 100):
            monitor.report(percent, "step")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["percent"] for line in lines] == [0, 50, 100]  # 1 and 2 came within a tenth of a second
    assert [line["stage"] for line in lines] == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("elapsed", "percent", "left"),
    [(0, 0, 60), (30, 50, 30), (60, 50, 55.7), (0.5, 50, 4.7), (60, 100, 0)],
)
def test_time_left_follows_the_pace_so_far(elapsed: float, percent: float, left: float) -> None:
    assert console._time_left(elapsed, percent, 60) == pytest.approx(left, abs=0.1)


def test_live_progress_shows_stages_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, force_terminal=True, width=100, highlight=False))
    with console.show_progress(PLAN, as_json=False) as monitor:
        for percent in (0, 25, 50, 75, 100):
            monitor.report(percent, f"detail {percent}")
    shown = stream.getvalue()
    assert "First" in shown
    assert "Second" in shown


def test_the_package_can_be_run() -> None:
    import subprocess
    import sys

    run = subprocess.run(
        [sys.executable, "-m", "meshwright", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == f"meshwright {meshwright.__version__}\n"


@pytest.mark.parametrize(
    ("command", "code", "left"), [("reconstruct", 3, [3]), ("evaluate", None, [0]), ("serve", 0, []), ("--help", 0, [])]
)
def test_one_shot_commands_end_at_once(
    monkeypatch: pytest.MonkeyPatch, command: str, code: int | None, left: list[int]
) -> None:
    """Whoever may have children or connections to close is left to Python."""

    def end() -> None:
        raise SystemExit(code)

    ended: list[int] = []
    monkeypatch.setattr(program, "app", end)
    monkeypatch.setattr("sys.argv", ["meshwright", command])
    monkeypatch.setattr("gc.set_threshold", lambda *thresholds: None)
    monkeypatch.setattr("os._exit", ended.append)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    with pytest.raises(SystemExit):
        program.main()
    assert ended == left


def test_what_cannot_be_delivered_does_not_end_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr("logging.shutdown", lambda: None)
    monkeypatch.setattr("os._exit", lambda code: pytest.fail("left"))
    program._leave(0)
