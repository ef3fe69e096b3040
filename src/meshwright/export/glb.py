"""Binary glTF 2.0 with the texture inside.

One mesh, one material: metallic 0, roughness 1, so that what it shows in a viewer comes from the base colour alone, or
the material's own maps. Tangents go with a normal map, since programs differ in how they make them up. glTF's v runs
down, ours up, so v is turned over; its axes are ours: right-handed, +Y up, the front towards +Z, metres.
Source: Khronos glTF 2.0 specification, sections 3.6 (buffers), 3.7 (geometry), 4.4 (GLB).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from meshwright import __version__
from meshwright.export.corners import check_textured, split_vertices
from meshwright.export.files import encode_png, write_atomic
from meshwright.types import Array, MaterialMaps, TexturedMesh

__all__ = ["write_glb"]

FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


def write_glb(textured: TexturedMesh, path: Path, *, png: Callable[[], bytes] | None = None) -> Path:
    """Write one GLB file that the Khronos validator has nothing to say against.

    Args:
        textured: What to write.
        path: The GLB file.
        png: Gives the texture encoded, where the caller has that done elsewhere.
    Raises:
        ShapeError: The mesh cannot be written (see `check_textured`).
        OutputError: The file cannot be written.
    """
    check_textured(textured)
    position, coordinate, faces = split_vertices(textured)
    uv = textured.uv[coordinate]
    small = len(position) < 65535  # the largest 16-bit index is reserved
    blob = _Blob()
    attributes = {
        "POSITION": blob.vectors(textured.mesh.vertices[position], bounds=True),
        "NORMAL": blob.vectors(textured.mesh.vertex_normals()[position]),
        "TEXCOORD_0": blob.vectors(np.stack([uv[:, 0], 1 - uv[:, 1]], 1)),
    }
    indices = blob.indices(faces.ravel().astype("<u2" if small else "<u4"), UNSIGNED_SHORT if small else UNSIGNED_INT)
    pictures = {"base_color": encode_png(textured.base_color_srgb) if png is None else png()}
    if (maps := textured.material) is not None:
        pictures["occlusion_roughness_metallic"] = encode_png(maps.orm)
        if maps.normal is not None:
            pictures["normal"] = encode_png(maps.normal)
            attributes["TANGENT"] = blob.vectors(textured.tangents()[coordinate])
    images = [{"name": name, "bufferView": blob.view(data), "mimeType": "image/png"} for name, data in pictures.items()]
    document = {
        "asset": {"version": "2.0", "generator": f"meshwright {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "object", "mesh": 0}],
        "meshes": [
            {"name": "object", "primitives": [{"attributes": attributes, "indices": indices, "material": 0, "mode": 4}]}
        ],
        "materials": [_material(textured.material)],
        "textures": [{"sampler": 0, "source": source} for source in range(len(images))],
        "images": images,
        "samplers": [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ],
        "accessors": blob.accessors,
        "bufferViews": blob.views,
        "buffers": [{"byteLength": len(blob.data)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(blob.data)
    chunks = [struct.pack("<4sII", b"glTF", 2, size), struct.pack("<I4s", len(text), b"JSON"), text]
    chunks += [struct.pack("<I4s", len(blob.data), b"BIN\0"), bytes(blob.data)]
    return write_atomic(path, b"".join(chunks))


def _material(maps: MaterialMaps | None) -> dict[str, object]:
    """The one material; textures are numbered base colour, roughness and metalness, normal."""
    if maps is None:
        surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
        return {"name": "base", "pbrMetallicRoughness": surface}
    surface = {
        "baseColorTexture": {"index": 0},
        "metallicFactor": 1.0,
        "roughnessFactor": 1.0,
        "metallicRoughnessTexture": {"index": 1},
    }
    material: dict[str, object] = {"name": "base", "pbrMetallicRoughness": surface}
    if maps.normal is not None:
        material["normalTexture"] = {"index": 2}
    return material


class _Blob:
    """The binary part, and what the JSON part says about it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, object]] = []
        self.accessors: list[dict[str, object]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, padded to four; returns the index of their buffer view."""
        view: dict[str, object] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.data += data + b"\0" * (-len(data) % 4)
        self.views.append(view)
        return len(self.views) - 1

    def vectors(self, values: Array, *, bounds: bool = False) -> int:
        """Append float vectors [M, 2 or 3]; returns the index of their accessor."""
        values = np.ascontiguousarray(values, "<f4")
        accessor: dict[str, object] = {
            "bufferView": self.view(values.tobytes(), ARRAY_BUFFER),
            "componentType": FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        if bounds:
            # float32 values as exact doubles: the validator compares them bit by bit.
            accessor["min"] = values.min(0).astype(np.float64).tolist()
            accessor["max"] = values.max(0).astype(np.float64).tolist()
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, values: Array, component: int) -> int:
        """Append vertex indices; returns the index of their accessor."""
        self.accessors.append(
            {
                "bufferView": self.view(values.tobytes(), ELEMENT_ARRAY_BUFFER),
                "componentType": component,
                "count": len(values),
                "type": "SCALAR",
            }
        )
        return len(self.accessors) - 1
