"""What families of weights there are: their parts, where those come from, and what may be done with them.

A family is a set of networks that work together. Its parts are the repositories that the networks were published in.
In the store every part lies as it was published: `<repository>/<file>`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meshwright.errors import OptionError
from meshwright.weights.licences import Licence

__all__ = ["FAMILIES", "LARGE", "MINI", "Family", "FileEntry", "Network", "Part", "family_named", "read_overrides"]

OVERRIDES = "MESHWRIGHT_WEIGHTS_CATALOGUE"
"""Variable that names a JSON file with other revisions, addresses, sizes or hashes; see docs/weights.md."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One published file.

    Attributes:
        path: Below the part's folder, with forward slashes.
        size: Bytes; 0 where nobody recorded them.
        sha256: Its hash as others recorded it; empty where nobody did: then the one that came first counts.
        needed: Whether the family works without it (a licence text, a model card).
    """

    path: str
    size: int = 0
    sha256: str = ""
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Part:
    """One repository, or one published file, of a family.

    Attributes:
        folder: `owner/name`: its id on the hub, and its folder in the store.
        title: What it is, for people.
        revision: Commit that is fetched; empty where the part has none.
        url: Address of the folder that its files lie in, where it is not on the Hugging Face hub.
        files: Everything that is fetched.
        licence: On what terms.
    """

    folder: str
    title: str
    files: tuple[FileEntry, ...]
    licence: Licence
    revision: str = ""
    url: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files, as far as they are known."""
        return sum(entry.size for entry in self.files)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Where one network lies: `weights` and, where it has one, the JSON with its arguments, below the part's folder."""

    name: str
    part: str
    weights: str
    config: str = ""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks that work together. `packaged` ones come with meshwright and need nothing."""

    name: str
    title: str
    parts: tuple[Part, ...]
    networks: tuple[Network, ...]
    packaged: bool = False
    pipeline: tuple[str, str] | None = field(default=None)
    """Part and file that say which network lies where, and how the samplers are set."""

    def part(self, folder: str) -> Part:
        return next(part for part in self.parts if part.folder == folder)

    @property
    def size(self) -> int:
        """Bytes of all parts, as far as they are known."""
        return sum(part.size for part in self.parts)


_OURS = Licence(
    name="Apache-2.0",
    consequence="Free to use, also commercially.",
    words=(
        "The networks of `mini` are meshwright's own, trained on objects that meshwright makes itself. They are under "
        "the Apache License 2.0, as meshwright is."
    ),
)

_GENERATOR = Licence(
    name="not stated with the weights; code MIT",
    consequence="Read the model card before any commercial use: nobody has said in public that it is allowed.",
    words=(
        "The weights of ReconViaGen v0.2 are TRELLIS-image-large (Microsoft, MIT) trained further, with two condition "
        "networks of its own. The code repository is under the MIT licence (copyright holder estheryang11). No licence "
        "of the weights stands in that repository: the model card https://huggingface.co/Stable-X/trellis-vggt-v0-2 "
        "decides. The condition networks were trained on features of the VGGT weights, whose licence is the next one."
    ),
)

_VGGT = Licence(
    name="probably CC BY-NC 4.0 (as VGGT-1B)",
    consequence="NOT for commercial use, unless the model card or the authors say otherwise.",
    words=(
        "vggt-object-v0-1 is a VGGT network trained further. The weights of VGGT-1B (Meta) are under CC BY-NC 4.0: "
        "attribution, no commercial use; what derives from them inherits that. What holds for this file stands in its "
        "model card, https://huggingface.co/Stable-X/vggt-object-v0-1. Meta's VGGT-1B-Commercial is no replacement: "
        "the condition networks were trained on the features of this one, and would get others."
    ),
)

_DINOV2 = Licence(
    name="Apache-2.0",
    consequence="Free to use, also commercially.",
    words=(
        "DINOv2 ViT-L/14 with registers (Meta), code and weights under the Apache License 2.0: keep its notice when "
        "you pass it on. https://github.com/facebookresearch/dinov2"
    ),
)

_GENERATOR_FOLDER = "Stable-X/trellis-vggt-v0-2"
_VGGT_FOLDER = "Stable-X/vggt-object-v0-1"
_DINOV2_FOLDER = "facebookresearch/dinov2"


def _pair(stem: str, size: int, sha256: str = "") -> tuple[FileEntry, FileEntry]:
    return FileEntry(path=f"ckpts/{stem}.json"), FileEntry(path=f"ckpts/{stem}.safetensors", size=size, sha256=sha256)


_CARD = tuple(FileEntry(path=name, needed=False) for name in ("README.md", "LICENSE"))

MINI = "mini"
LARGE = "trellis-vggt-v0-2"

FAMILIES: tuple[Family, ...] = (
    Family(
        name=MINI,
        title="small networks that come with meshwright; they run on a CPU",
        packaged=True,
        parts=(
            Part(
                folder="meshwright/mini",
                title="shape prior",
                files=(FileEntry(path="mini.safetensors"),),
                licence=_OURS,
            ),
        ),
        networks=(Network(name="prior", part="meshwright/mini", weights="mini.safetensors"),),
    ),
    Family(
        name=LARGE,
        title="the large networks of ReconViaGen v0.2; they want a GPU",
        parts=(
            Part(
                folder=_GENERATOR_FOLDER,
                title="structure and latent flows, their conditions, and the decoders",
                # The commit that several public projects record as the snapshot they work with.
                revision="647659a5ad5fbf67e22793e7b5e2cee4b30c5d13",
                files=(
                    FileEntry(path="pipeline.json"),
                    # Sizes are those of TRELLIS-image-large, whose shapes these files have; a revision with others
                    # is no fault. Only one hash has been recorded in public.
                    *_pair("ss_flow_img_dit_L_16l8_fp16", 1_130_770_840),
                    *_pair("ss_dec_conv3d_16l8_fp16", 147_591_972),
                    *_pair("slat_flow_img_dit_L_64l8p2_fp16", 1_203_755_136),
                    *_pair("slat_dec_mesh_swin8_B_64l8m256c_fp16", 181_903_412),
                    *_pair("slat_dec_gs_swin8_B_64l8gs32_fp16", 171_450_952),
                    *_pair("ss_vggt_cond", 176_340_384),
                    *_pair(
                        "slat_vggt_cond",
                        50_348_784,
                        "18945872ec1a5fc13b2bfe86f279777c895c015ddff5cabc8f5a6dcd245d862a",
                    ),
                    *_CARD,
                ),
                licence=_GENERATOR,
            ),
            Part(
                folder=_VGGT_FOLDER,
                title="VGGT, trained further on objects: what the views say of each other",
                revision="aac569c280b52ccda1c84a81cd0e27e947bc2cf5",
                files=(
                    FileEntry(path="config.json"),
                    FileEntry(
                        path="model.safetensors",
                        size=5_026_367_224,
                        sha256="65c4803ef021a4143bbe499faebaef1d1a522d1437b5742b89c85d557db4bba4",
                    ),
                    *_CARD,
                ),
                licence=_VGGT,
            ),
            Part(
                folder=_DINOV2_FOLDER,
                title="DINOv2 ViT-L/14 with registers: what each picture shows",
                url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14",
                files=(
                    FileEntry(
                        path="dinov2_vitl14_reg4_pretrain.pth",
                        size=1_217_607_321,
                        sha256="36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
                    ),
                ),
                licence=_DINOV2,
            ),
        ),
        networks=(
            *(
                Network(
                    name=name,
                    part=_GENERATOR_FOLDER,
                    weights=f"ckpts/{stem}.safetensors",
                    config=f"ckpts/{stem}.json",
                )
                for name, stem in (
                    ("sparse_structure_flow_model", "ss_flow_img_dit_L_16l8_fp16"),
                    ("sparse_structure_decoder", "ss_dec_conv3d_16l8_fp16"),
                    ("sparse_structure_vggt_cond", "ss_vggt_cond"),
                    ("slat_flow_model", "slat_flow_img_dit_L_64l8p2_fp16"),
                    ("slat_vggt_cond", "slat_vggt_cond"),
                    ("slat_decoder_mesh", "slat_dec_mesh_swin8_B_64l8m256c_fp16"),
                    ("slat_decoder_gs", "slat_dec_gs_swin8_B_64l8gs32_fp16"),
                )
            ),
            Network(name="vggt", part=_VGGT_FOLDER, weights="model.safetensors", config="config.json"),
            Network(name="dinov2", part=_DINOV2_FOLDER, weights="dinov2_vitl14_reg4_pretrain.pth"),
        ),
        pipeline=(_GENERATOR_FOLDER, "pipeline.json"),
    ),
)
"""All families, with what is known of them. `family_named` gives them as this machine's overrides want them."""


def family_named(name: str) -> Family:
    """The family called `name`.

    Raises:
        OptionError: There is none, or the file named by MESHWRIGHT_WEIGHTS_CATALOGUE cannot be used.
    """
    family = next((family for family in FAMILIES if family.name == name), None)
    if family is None:
        raise OptionError(
            f"There is no family of weights called {name!r}.",
            hint="Known are " + " and ".join(family.name for family in FAMILIES) + "; `meshwright weights list`.",
        )
    file = os.environ.get(OVERRIDES, "")
    return _overridden(family, read_overrides(Path(file)).get(name, {})) if file else family


def read_overrides(file: Path) -> dict[str, dict[str, Any]]:
    """Family -> part -> `revision`, `url` and `files` (path -> `size`, `sha256`), as a JSON file says.

    Raises:
        OptionError: It cannot be read, or says something else.
    """
    hint = f"{OVERRIDES} names it; docs/weights.md shows what may stand in it."
    try:
        document: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"The catalogue {str(file)!r} cannot be read: {error}.", hint=hint) from error
    known = {family.name: {part.folder for part in family.parts} for family in FAMILIES}
    try:
        for family, parts in document.items():
            for part, says in parts.items():
                if part not in known[family] or set(says) - {"revision", "url", "files"}:
                    raise KeyError(part)
                for entry in says.get("files", {}).values():
                    if set(entry) - {"size", "sha256"} or not isinstance(entry.get("size", 0), int):
                        raise KeyError(part)
                    if not re.fullmatch(r"|[0-9a-f]{64}", str(entry.get("sha256", ""))):
                        raise KeyError(part)
    except (KeyError, AttributeError, TypeError) as error:
        raise OptionError(f"The catalogue {str(file)!r} is not understood at {error}.", hint=hint) from error
    return document


def _overridden(family: Family, parts: Mapping[str, Mapping[str, Any]]) -> Family:
    """`family` from elsewhere. Where other files are named, nothing is known of those that are not."""

    def part(old: Part) -> Part:
        says = parts.get(old.folder)
        if says is None:
            return old
        files = old.files
        if "files" in says:
            known = {entry.path: says["files"].get(entry.path, {}) for entry in files}
            files = tuple(
                replace(entry, size=known[entry.path].get("size", 0), sha256=known[entry.path].get("sha256", ""))
                for entry in files
            )
        return replace(
            old,
            files=files,
            revision=str(says.get("revision", old.revision)),
            url=str(says.get("url", old.url)),
        )

    return replace(family, parts=tuple(part(old) for old in family.parts))
