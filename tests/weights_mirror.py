"""Small weights laid out as the released repositories are, and servers that they are fetched from.

`write_release` makes a folder with the files of the large family, whose networks are tiny and random. `Mirror` serves
such a folder as the Hugging Face hub does (and as a plain web server beside it); it can break off, refuse and lie.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from meshwright.weights.catalogue import LARGE, Family, family_named
from meshwright.weights.layouts import expected_shapes

GENERATOR = "Stable-X/trellis-vggt-v0-2"
VGGT = "Stable-X/vggt-object-v0-1"
DINOV2 = "facebookresearch/dinov2"

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "sparse_structure_flow_model": (
        "SparseStructureFlowModel",
        {
            "resolution": 16,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 32,
            "cond_channels": 32,
            "num_blocks": 1,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "pe_mode": "ape",
            "qk_rms_norm": True,
            "use_fp16": False,
        },
    ),
    "sparse_structure_decoder": (
        "SparseStructureDecoder",
        {
            "out_channels": 1,
            "latent_channels": 8,
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "channels": [16, 8, 4],
            "norm_type": "layer",
            "use_fp16": False,
        },
    ),
    "sparse_structure_vggt_cond": (
        "ModulatedMultiViewCond",
        {
            "channels": 32,
            "ctx_channels": 96,
            "num_heads": 2,
            "mlp_ratio": 2,
            "num_init_tokens": 64,
            "qk_rms_norm": True,
        },
    ),
    "slat_flow_model": (
        "ElasticSLatFlowModel",
        {
            "resolution": 64,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 64,
            "cond_channels": 32,
            "num_blocks": 1,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 2,
            "num_io_res_blocks": 2,
            "io_block_channels": [32],
            "pe_mode": "ape",
            "qk_rms_norm": True,
            "use_fp16": False,
        },
    ),
    "slat_vggt_cond": ("ModulatedSLATMultiViewCond", {"channels": 32, "ctx_channels": 96}),
    "slat_decoder_mesh": (
        "ElasticSLatMeshDecoder",
        {
            "resolution": 64,
            "model_channels": 256,
            "latent_channels": 8,
            "num_blocks": 1,
            "num_heads": 2,
            "mlp_ratio": 1,
            "attn_mode": "swin",
            "window_size": 8,
            "use_fp16": False,
            "representation_config": {"use_color": True},
        },
    ),
    "slat_decoder_gs": (
        "ElasticSLatGaussianDecoder",
        {
            "resolution": 64,
            "model_channels": 48,
            "latent_channels": 8,
            "num_blocks": 1,
            "num_heads": 2,
            "mlp_ratio": 1,
            "attn_mode": "swin",
            "window_size": 8,
            "use_fp16": False,
            "representation_config": {"num_gaussians": 4},
        },
    ),
}
"""Network -> class and arguments of a tiny one."""


def vision_shapes(prefix: str = "", channels: int = 32, depth: int = 2, grid: int = 37) -> dict[str, tuple[int, ...]]:
    """A tiny picture encoder."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}cls_token": (1, 1, channels),
        f"{prefix}mask_token": (1, channels),
        f"{prefix}pos_embed": (1, grid * grid + 1, channels),
        f"{prefix}register_tokens": (1, 4, channels),
        f"{prefix}patch_embed.proj.weight": (channels, 3, 14, 14),
        f"{prefix}patch_embed.proj.bias": (channels,),
        f"{prefix}norm.weight": (channels,),
        f"{prefix}norm.bias": (channels,),
    }
    for index in range(depth):
        shapes |= block_shapes(f"{prefix}blocks.{index}", channels)
    return shapes


def block_shapes(name: str, channels: int, head: int = 0) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for linear, out, into in (
        ("attn.qkv", 3 * channels, channels),
        ("attn.proj", channels, channels),
        ("mlp.fc1", 4 * channels, channels),
        ("mlp.fc2", channels, 4 * channels),
    ):
        shapes |= {f"{name}.{linear}.weight": (out, into), f"{name}.{linear}.bias": (out,)}
    norms = {"norm1": channels, "norm2": channels} | ({"attn.q_norm": head, "attn.k_norm": head} if head else {})
    for norm, width in norms.items():
        shapes |= {f"{name}.{norm}.weight": (width,), f"{name}.{norm}.bias": (width,)}
    return shapes | {f"{name}.ls1.gamma": (channels,), f"{name}.ls2.gamma": (channels,)}


def vggt_shapes(channels: int = 32, depth: int = 2) -> dict[str, tuple[int, ...]]:
    """A tiny aggregator, with a head beside it that nobody needs."""
    shapes = vision_shapes("aggregator.patch_embed.", channels)
    shapes |= {"aggregator.camera_token": (1, 2, 1, channels), "aggregator.register_token": (1, 2, 4, channels)}
    for index in range(depth):
        for kind in ("frame_blocks", "global_blocks"):
            shapes |= block_shapes(f"aggregator.{kind}.{index}", channels, head=16)
    return shapes | {"track_head.something.weight": (3, 3)}


def save_random(path: Path, shapes: dict[str, tuple[int, ...]], seed: int = 0) -> None:
    """A weights file with these tensors; `.pth` as torch saves it."""
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
        return
    import torch

    torch.save({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, path)


def write_release(folder: Path, seed: int = 0) -> Family:
    """A folder that can be used as a store, or be served; gives the family as the catalogue has it.

    Its files have neither the sizes nor the hashes of the released ones: `write_catalogue` says which they have.
    """
    family = family_named(LARGE)
    places = {network.name: network for network in family.networks}
    models = {}
    for index, (name, (kind, arguments)) in enumerate(SMALL.items()):
        network = places[name]
        shapes = expected_shapes(name, arguments, {})
        assert shapes is not None
        save_random(folder / GENERATOR / network.weights, shapes, seed + index)
        text = json.dumps({"name": kind, "args": arguments}, indent=4)
        (folder / GENERATOR / network.config).write_text(text, encoding="utf-8")
        models[name] = network.weights.removesuffix(".safetensors")
    pipeline = {"name": "TrellisVGGTTo3DPipeline", "args": {"models": models, **pipeline_arguments()}}
    (folder / GENERATOR / "pipeline.json").write_text(json.dumps(pipeline, indent=4), encoding="utf-8")
    card = "---\nlicense: cc-by-nc-4.0\nlibrary_name: none\n---\nA card.\n"
    (folder / GENERATOR / "README.md").write_text(card, encoding="utf-8")
    save_random(folder / VGGT / "model.safetensors", vggt_shapes(), seed + 20)
    (folder / VGGT / "config.json").write_text('{"img_size": 518, "patch_size": 14, "embed_dim": 32}', encoding="utf-8")
    save_random(folder / DINOV2 / "dinov2_vitl14_reg4_pretrain.pth", vision_shapes(), seed + 30)
    return family


def pipeline_arguments() -> dict[str, Any]:
    """What `pipeline.json` says beside the networks."""
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {"steps": 2, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
    }
    return {
        "sparse_structure_sampler": sampler,
        "slat_sampler": sampler,
        "slat_normalization": {"mean": [0.0] * 8, "std": [1.0] * 8},
        "image_cond_model": "dinov2_vitl14_reg",
    }


def write_catalogue(file: Path, folder: Path, *, url: str = "", hashes: bool = False) -> Path:
    """A file for MESHWRIGHT_WEIGHTS_CATALOGUE, so that the weights in `folder` are the ones that are published.

    Args:
        url: Server that DINOv2 is fetched from (it is not on the hub).
        hashes: Name the hash of every file; else none is known.
    """
    parts: dict[str, Any] = {}
    for part in (GENERATOR, VGGT, DINOV2):
        files = {}
        for path in sorted((folder / part).rglob("*")):
            if hashes and path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                files[path.relative_to(folder / part).as_posix()] = {"size": path.stat().st_size, "sha256": digest}
        parts[part] = {"files": files}
    if url:
        parts[DINOV2]["url"] = f"{url}/{DINOV2}"
    file.write_text(json.dumps({LARGE: parts}), encoding="utf-8")
    return file


class Mirror:
    """A hub, and a plain web server, over one folder.

    Attributes:
        url: Its address.
        requests: `METHOD path range` of everything that was asked.
        break_after: Path -> after how many bytes of an answer the line breaks, once each.
        statuses: Path -> statuses that are answered, one per request, before it works.
        lies: Path -> what is sent instead of the file.
        ranges: Whether parts of files can be asked for.
        closed: Repository -> the hub's word for why it is not shown, such as `GatedRepo`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.break_after: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.lies: dict[str, bytes] = {}
        self.ranges = True
        self.closed: dict[str, str] = {}
        self.revisions = {part.folder: part.revision for part in family_named(LARGE).parts}
        mirror = self

        class Handler(_Handler):
            owner = mirror

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.cdn = self.url.replace("127.0.0.1", "localhost")  # another host, as it is for the hub

    def asked(self, method: str, path: str) -> list[str]:
        """The requests of one kind for one file."""
        return [line for line in self.requests if line.startswith(f"{method} ") and path in line]


@contextmanager
def serving(folder: Path) -> Iterator[Mirror]:
    """A mirror that runs within the block."""
    mirror = Mirror(folder)
    thread = threading.Thread(target=mirror.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        mirror.server.shutdown()
        mirror.server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: Mirror
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        owner = self.owner
        owner.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        path = self.path.partition("?")[0].lstrip("/")
        waiting = next((owner.statuses[key] for key in owner.statuses if path.endswith(key)), [])
        if waiting and self.command == "GET":
            self._say(waiting.pop(0), {})
            return
        hub = re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if hub:
            self._hub(*hub.groups())
        else:
            self._file(path.removeprefix("cdn/"))

    def _hub(self, part: str, revision: str, name: str) -> None:
        """As the hub: metadata in headers; large files lie elsewhere."""
        file = self.owner.folder / part / name
        if part in self.owner.closed:
            self._say(403, {"X-Error-Code": self.owner.closed[part]})
        elif not (self.owner.folder / part).is_dir():
            self._say(404, {"X-Error-Code": "RepoNotFound"})
        elif revision != self.owner.revisions.get(part):
            self._say(404, {"X-Error-Code": "RevisionNotFound"})
        elif not file.is_file():
            self._say(404, {"X-Error-Code": "EntryNotFound"})
        else:
            data = file.read_bytes()
            if file.suffix == ".safetensors":
                digest = hashlib.sha256(data).hexdigest()
                headers = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": revision}
                self._say(302, headers | {"Location": f"{self.owner.cdn}/cdn/{part}/{name}"})
            else:
                digest = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                self._send(data, name, {"ETag": f'"{digest}"', "X-Repo-Commit": revision})

    def _file(self, path: str) -> None:
        file = self.owner.folder / path
        if file.is_file():
            self._send(file.read_bytes(), path, {})
        else:
            self._say(404, {})

    def _send(self, data: bytes, path: str, headers: dict[str, str]) -> None:
        if self.command == "GET":
            data = next((lie for key, lie in self.owner.lies.items() if path.endswith(key)), data)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.owner.ranges else None
        start, status = (int(wanted[1]), 206) if wanted else (0, 200)
        if start >= len(data) > 0:
            self._say(416, {})
            return
        if wanted:
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        body = data[start:]
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        waiting = next((self.owner.break_after[key] for key in self.owner.break_after if path.endswith(key)), [])
        if waiting:
            self.wfile.write(body[: waiting.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)

    def _say(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(key, value)
        self.end_headers()
