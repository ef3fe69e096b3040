"""Device choice and GPU memory, with and without CUDA (a stand-in for torch.cuda plays the machines we do not have)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from meshwright import device as device_module
from meshwright.device import (
    check_stop,
    check_vram_available,
    checking,
    cleanup_gpu_memory,
    cpu_threads,
    describe_device,
    map_threads,
    open_early,
    pick_device,
    turn,
)
from meshwright.errors import Cancelled, DeviceError, OptionError, VramError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Calls `gpus(count)` to play a machine with that many CUDA devices."""

    def play(count: int) -> None:
        monkeypatch.setattr(device_module, "_cuda_device_count", lambda: count)

    return play


@pytest.mark.parametrize(
    ("wanted", "count", "picked"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 2, "cpu"),
        ("cuda", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_pick_device(gpus, wanted: str, count: int, picked: str) -> None:
    gpus(count)
    assert pick_device(wanted) == picked


def test_missing_cuda_says_what_to_do(gpus) -> None:
    gpus(0)
    with pytest.raises(DeviceError, match="CUDA is not available") as caught:
        pick_device("cuda")
    assert "--device cpu" in caught.value.hint
    assert caught.value.code == "device.unavailable"


def test_missing_second_gpu_names_the_range(gpus) -> None:
    gpus(2)
    with pytest.raises(DeviceError, match=r"no CUDA device 2; this machine has 2\. Use cuda:0 to cuda:1"):
        pick_device("cuda:2")


class _Driver:
    """Stands in for libcuda: notes what is called, and answers what it is told to."""

    def __init__(self, **answers: int) -> None:
        self.called: list[str] = []
        self.answers = answers

    def __getattr__(self, name: str):
        def call(*arguments: object) -> int:
            self.called.append(f"{name} {arguments[1]}" if name == "cuDeviceGet" else name)
            return self.answers.get(name, 0)

        return call


def test_a_gpu_is_opened_while_the_program_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = _Driver()
    monkeypatch.setattr(device_module, "_has_driver", lambda: True)
    monkeypatch.setattr(device_module.ctypes, "CDLL", lambda name: driver)
    opening = open_early("cuda:1")
    assert opening is not None
    opening.join()
    assert driver.called == ["cuInit", "cuDeviceGet 1", "cuDevicePrimaryCtxRetain"]


def test_opening_early_leaves_every_fault_to_whoever_picks_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_early("cpu") is None
    monkeypatch.setattr(device_module, "_has_driver", lambda: False)
    assert open_early("cuda") is None
    monkeypatch.setattr(device_module, "_has_driver", lambda: True)
    assert open_early("gpu") is None
    driver = _Driver(cuInit=100)
    for library in (lambda name: driver, lambda name: (_ for _ in ()).throw(OSError(name))):
        monkeypatch.setattr(device_module.ctypes, "CDLL", library)
        opening = open_early()
        assert opening is not None
        opening.join()
    assert driver.called == ["cuInit"]


@pytest.mark.parametrize("wanted", ["gpu", "", "cpu:1", "cuda:x", "cuda:-1", "auto:0"])
def test_unknown_device_is_an_option_error(wanted: str) -> None:
    with pytest.raises(OptionError, match="is not known"):
        pick_device(wanted)


def test_vram_check_reports_both_sides(gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    gpus(1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (6 * 1024**3, 8 * 1024**3))
    assert check_vram_available(5.5) == 6.0
    with pytest.raises(VramError, match=r"7\.0 GiB of GPU memory are needed, 6\.0 of 8\.0 GiB are free") as caught:
        check_vram_available(7)
    assert caught.value.details == {"required_gb": 7, "free_gb": 6.0, "total_gb": 8.0}


def test_vram_check_without_cuda(gpus) -> None:
    gpus(0)
    assert check_vram_available(100, "cpu") == float("inf")
    with pytest.raises(DeviceError, match="CUDA is not available"):
        check_vram_available(1)


def test_cleanup_works_without_torch_and_without_cuda() -> None:
    program = "import sys; import meshwright.device as d; d.cleanup_gpu_memory(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    import torch

    assert torch.nn is not None
    cleanup_gpu_memory()


def test_description_of_the_cpu_is_plain_json() -> None:
    description = describe_device("cpu")
    assert description["device"] == "cpu"
    assert description["cores"] == cpu_threads() >= 1
    assert isinstance(description["name"], str)
    assert description["name"]


def test_map_threads_keeps_order_and_passes_errors_on() -> None:
    assert map_threads(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    assert map_threads(lambda x: x, []) == []
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda x: 1 / x, [1, 0])


def test_threads_of_one_gpu_take_turns() -> None:
    """Many threads count up a number that each reads, lets go and writes: without turns some counts get lost."""
    count = {"cuda:0": 0, "cuda:1": 0}

    def work(item: int) -> int:
        device = f"cuda:{item % 2}"
        with turn(device), turn(device):
            seen = count[device]
            time.sleep(1e-4)
            count[device] = seen + 1
        with turn("cpu"):
            return threading.get_ident()

    threads = map_threads(work, range(64), device="cuda:0")
    assert count == {"cuda:0": 32, "cuda:1": 32}
    assert cpu_threads() < 2 or len(set(threads)) > 1


def test_turns_on_the_cpu_wait_for_nobody() -> None:
    inside = threading.Barrier(2, timeout=10)

    def work(_: int) -> None:
        with turn("cpu"):
            inside.wait()

    if cpu_threads() > 1:
        map_threads(work, range(2))


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_map_threads_can_be_stopped_between_items(device: str) -> None:
    done: list[int] = []

    def check() -> None:
        if len(done) >= 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled), checking(check):
        map_threads(done.append, range(50), device=device)
    assert 3 <= len(done) < 3 + 2 * cpu_threads()
    map_threads(done.append, range(50), device=device)  # nobody listens any more
    assert len(done) >= 53


def test_work_inside_an_item_can_be_stopped_too() -> None:
    begun = threading.Event()

    def check() -> None:
        if begun.is_set():
            raise Cancelled("stop")

    def long_work(_: int) -> None:
        begun.set()
        check_stop()
        raise AssertionError("went on")

    with pytest.raises(Cancelled), checking(check):
        map_threads(long_work, range(4))
    check_stop()  # nobody listens any more


@pytest.mark.gpu
def test_real_gpu() -> None:
    assert pick_device("cuda") == "cuda:0"
    assert check_vram_available(0.1) > 0.1
    assert describe_device("cuda:0")["memory_gb"] > 1
    cleanup_gpu_memory()
