"""What docs/service.md says of settings and commands is what the source has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("pydantic_settings", reason="needs the extra service")

from docs.make_settings import END, LEFT_OUT, replaced, settings_table

from meshwright.service.settings import Settings
from meshwright.weights.catalogue import OVERRIDES
from meshwright.weights.store import VARIABLE

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "service.md"


def test_settings_in_the_docs_are_those_of_the_source() -> None:
    page = PAGE.read_text()
    assert END in page
    assert replaced(page) == page, "run: python docs/make_settings.py"


def test_every_setting_is_described() -> None:
    table = settings_table()
    for name in set(Settings.model_fields) - LEFT_OUT:
        (row,) = re.findall(rf"^\| `MESHWRIGHT_{name.upper()}` \| .* \| (.+) \|$", table, re.MULTILINE)
        assert row.endswith("."), row


def test_docs_name_only_settings_that_exist() -> None:
    known = {f"MESHWRIGHT_{name.upper()}" for name in Settings.model_fields}
    of_the_client = {"MESHWRIGHT_URL", "MESHWRIGHT_API_KEY"}
    of_weights = {VARIABLE, OVERRIDES, "MESHWRIGHT_WEIGHTS_MIRROR"}
    for page in (PAGE, ROOT / "docs" / "cli.md", ROOT / "README.md", ROOT / "examples" / "service.sh"):
        named = set(re.findall(r"\bMESHWRIGHT_[A-Z_]+[A-Z]", page.read_text()))
        assert named <= known | of_the_client | of_weights | {"MESHWRIGHT_FAST"}, page


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "examples" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
