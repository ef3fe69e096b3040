"""`meshwright doctor`: what is installed, which devices there are, what is missing and how to get it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from meshwright.cli.console import emit, guarded, out
from meshwright.device import describe_device
from meshwright.errors import WeightsNotInstalledError
from meshwright.models import AVAILABLE_MODELS, ModelOutput, get_model
from meshwright.weights import FAMILIES, Store, family_named
from meshwright.weights.licences import acceptance
from meshwright.weights.verify import examine as examine_weights
from meshwright.weights.verify import fetch_command

__all__ = ["Finding", "doctor", "examine", "weights_findings"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: `system`, `package`, `device`, `model` or `weights`.
        name: What was looked at.
        state: `ok`, `missing` (needed), or `absent` (only needed for what `advice` says).
        found: Version or description.
        advice: What to do, or what goes without it.
    """

    topic: str
    name: str
    state: str
    found: str = ""
    advice: str = ""


PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pillow": "PIL",
    "torch": "torch",
    "warp-lang": "warp",
    "safetensors": "safetensors",
    "httpx": "httpx",
    "trimesh": "trimesh",
    "embreex": "embreex",
    "scikit-image": "skimage",
    "xatlas": "xatlas",
    "fast-simplification": "fast_simplification",
    "manifold3d": "manifold3d",
    "typer": "typer",
    "rich": "rich",
    "jinja2": "jinja2",
}
"""What meshwright needs: name to install, name to import."""


@guarded
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The findings as one JSON line.")] = False,
) -> None:
    """Say what is installed, which devices there are, what is missing and how to get it.

    Exit code 1 if something that meshwright needs is missing.
    """
    findings = examine()
    healthy = all(finding.state != "missing" for finding in findings)
    if as_json:
        emit("result", healthy=healthy, findings=[asdict(finding) for finding in findings])
    else:
        _print(findings, healthy)
    if not healthy:
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Everything that was found, in the order in which it is shown."""
    return [*_system(), *_packages(), *_devices(), *_models(), *weights_findings()]


def _system() -> list[Finding]:
    version = platform.python_version()
    new_enough = sys.version_info >= (3, 11)
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return [
        Finding(
            topic="system",
            name="Python",
            state="ok" if new_enough else "missing",
            found=version,
            advice="" if new_enough else "Python 3.11 or newer is needed.",
        ),
        Finding(topic="system", name="system", state="ok", found=f"{platform.system()} {platform.machine()}"),
        Finding(topic="system", name="memory", state="ok", found=_memory()),
        Finding(
            topic="system",
            name="disk here",
            state="ok" if free > 1 else "absent",
            found=f"{free:.1f} GB free",
            advice="" if free > 1 else "A run needs up to about 1 GB.",
        ),
    ]


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.1f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"


def _packages() -> list[Finding]:
    findings = []
    for name, module in PACKAGES.items():
        try:
            version = metadata.version(name)
            importlib.import_module(module)
        except metadata.PackageNotFoundError:
            state, found, advice = "missing", "not installed", f"pip install {name}"
        except Exception as error:  # a broken wheel can raise anything
            state, found, advice = "missing", f"does not load: {error}", f"pip install --force-reinstall {name}"
        else:
            state, found, advice = "ok", version, ""
        findings.append(Finding(topic="package", name=name, state=state, found=found, advice=advice))
    return findings


def _devices() -> list[Finding]:
    cpu = describe_device("cpu")
    findings = [Finding(topic="device", name="cpu", state="ok", found=f"{cpu['name']}, {cpu['cores']} cores")]
    try:
        import torch
    except Exception:  # said among the packages
        return findings
    if not torch.cuda.is_available():
        why = "this torch has no CUDA support" if torch.version.cuda is None else "no usable NVIDIA driver"
        advice = "Everything works on the CPU. For a GPU: an NVIDIA driver, and a torch build with CUDA."
        return [*findings, Finding(topic="device", name="cuda", state="absent", found=why, advice=advice)]
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        gpu = describe_device(name)
        findings.append(Finding(topic="device", name=name, state="ok", found=f"{gpu['name']}, {gpu['memory_gb']} GiB"))
    return findings


def _models() -> list[Finding]:
    findings = []
    for name in AVAILABLE_MODELS:
        model = get_model(name, recipe=_no_recipe)
        try:
            model.load_weights()
        except WeightsNotInstalledError as error:
            finding = Finding(topic="model", name=name, state="absent", found=error.message, advice=error.hint)
        else:
            finding = Finding(topic="model", name=name, state="ok", found="ready")
        findings.append(finding)
        model.cleanup()
    return findings


def weights_findings() -> list[Finding]:
    """One line for each part of the large family: what is there of it, and the command that gets the rest."""
    store = Store()
    findings = []
    for family in (family_named(known.name) for known in FAMILIES if not known.packaged):
        faults, _ = examine_weights(family, store)
        for part in family.parts:
            wrong = [fault for fault in faults if fault.file.startswith(f"{part.folder}/")]
            state, advice = "absent", fetch_command(family)
            if wrong and all(fault.code == "weights.missing" for fault in wrong):
                needed = sum(entry.needed for entry in part.files)
                found = "not installed" if len(wrong) == needed else f"{len(wrong)} of {needed} files are missing"
            elif wrong:
                found = "; ".join(f"{fault.file.removeprefix(part.folder + '/')} {fault.message}" for fault in wrong)
            elif acceptance(part, store) is None:
                found = f"its licence is not accepted yet ({part.licence.name})"
            else:
                revision = store.revision(part.folder)
                state, found, advice = "ok", f"whole{f', revision {revision[:12]}' if revision else ''}", ""
            findings.append(Finding(topic="weights", name=part.folder, state=state, found=found, advice=advice))
    return findings


def _no_recipe(*args: object, **kwargs: object) -> ModelOutput:
    raise AssertionError("doctor only asks for weights")


_MARKS = {"ok": "[green]ok[/]", "missing": "[bold red]missing[/]", "absent": "[yellow]-[/]"}


def _print(findings: list[Finding], healthy: bool) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            table.add_row(f"[bold]{topic}[/]")
        table.add_row(f"  {finding.name}", _MARKS[finding.state], escape(finding.found))
        if finding.advice:
            table.add_row("", "", f"[dim]{escape(finding.advice)}[/]")
    out.print(table)
    out.print("\n[green]Ready to reconstruct.[/]" if healthy else "\n[bold red]Something that is needed is missing.[/]")
