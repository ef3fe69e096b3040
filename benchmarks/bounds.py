"""What holds a result back: where its squared error lies, and what the best texture on its mesh would reach.

    python benchmarks/bounds.py ../shared/data/real_shoe build/shoe             # a folder that `reconstruct` made
    python benchmarks/bounds.py ../shared/data/real_shoe build/shoe build/high  # several, one after the other

Rows compare renders with the pictures as `quality.json` does (`meshwright.quality`: photographs before their own
background, 512 pixels, rounded to 8 bit), mean over the views:

    as it is            the texture of the result
    own picture         each view painted with nothing but its own picture: what outlines alone cost
    one texture         the texture that makes the squared error least, held smooth like that of the result where it is
                        finer than the pixels: what it costs that the views show one place differently
    gains               the same, with gain and offset of each view and channel fitted along: without exposure
    hatched             the same as `one texture`, but not held: views paint their own texels between those of others.
                        No texture for people; a bound for what any texture could reach on this mesh

Where the error lies: `rim` is what is within 3 pixels of the mesh's outline on either side (`cover`, of it: pixels that
only one of mask and mesh covers), `low` what a blur by 4 pixels leaves of the difference inside, `high` the rest of it,
`beyond` what is farther outside. Low and high do not quite add up: their product is left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy import sparse
from scipy.ndimage import distance_transform_edt, gaussian_filter

from meshwright.colour import linear_to_srgb, srgb_to_linear
from meshwright.export import load_textured
from meshwright.inputs import InputConfig, read_inputs
from meshwright.quality import JudgeConfig
from meshwright.quality.comparison import Comparison, area_resize, compare_view
from meshwright.quality.metrics import psnr, ssim
from meshwright.rendering import rasterize_mesh
from meshwright.texture.solve import conjugate_gradients
from meshwright.transforms import read_cameras
from meshwright.types import Array, Camera, MaskSource, TexturedMesh, View

SIDE = JudgeConfig().longest_side
SAMPLES = 2
"""Rays along a pixel's side, as in renders that are judged."""
RIM = 3
"""Pixels on either side of the outline."""
BLUR = 4.0
"""Pixels, standard deviation."""
STIFF = 0.1
"""Pull of neighbouring texels' changes to each other, against 1 for a pixel: enough to leave no hatching."""
LOOSE = 1e-4
TEXTURE = 2048
"""Texels along the side, whatever the result has: more of them reach more, and results are to be compared."""
ROUNDS = 6
"""The transfer curve is followed by its slope so many times; a round is a dozen conjugate gradients."""


@dataclass
class Looked:
    """One view: P pixels of the size they are judged at, and how they come from N texels that any view looks at."""

    reference: Array
    """sRGB [P, 3]."""
    behind: Array
    """What is seen beside the mesh, sRGB [P, 3]."""
    cover: Array
    """Of the mesh, [P, 1]."""
    looks: sparse.csr_array
    """Linear light of texels to that of pixels, before cover; rows of uncovered pixels are empty. [P, N]."""
    size: tuple[int, int]
    """Rows and columns."""

    def over(self, seen: Array) -> Array:
        """What is judged, sRGB [P, 3], where the mesh is seen like this, sRGB [P, 3]."""
        return np.asarray(self.cover * seen + (1 - self.cover) * self.behind, np.float32)

    def figures(self, shown: Array) -> tuple[float, float]:
        """PSNR and SSIM of a picture [P, 3] as they are judged."""
        pair = [np.rint(np.clip(a, 0, 1) * 255).astype(np.float32) / 255 for a in (self.reference, shown)]
        reference, render = (a.reshape(*self.size, 3) for a in pair)
        return psnr(reference, render), ssim(reference, render)


def look(view: View, camera: Camera, textured: TexturedMesh) -> Looked:
    """What `compare_view` would compare, and the matrix of its render."""
    width, height = (
        max(1, round(side * SIDE / max(view.width, view.height, SIDE))) for side in (view.width, view.height)
    )
    fine = rasterize_mesh(textured.mesh, camera.resized(width * SAMPLES, height * SAMPLES), device="cpu")

    def by_pixel(values: Array) -> Array:
        """[SAMPLES * height, SAMPLES * width, ...] to [P, SAMPLES ** 2, ...]."""
        tail = values.shape[2:]
        parted = values.reshape(height, SAMPLES, width, SAMPLES, *tail).swapaxes(1, 2)
        return parted.reshape(height * width, SAMPLES**2, *tail)

    face, bary = by_pixel(fine.face_id), by_pixel(fine.bary)
    hit = face >= 0
    place = np.einsum("psc,pscd->psd", bary, textured.uv[textured.uv_faces[np.maximum(face, 0)]])
    side = TEXTURE
    column = np.clip(place[..., 0] * side - 0.5, 0.0, side - 1.001)
    row = np.clip((1.0 - place[..., 1]) * side - 0.5, 0.0, side - 1.001)
    left, top = column.astype(np.int64), row.astype(np.int64)
    right, down = column - left, row - top
    first = top * side + left
    texel = np.stack([first, first + 1, first + side, first + side + 1], -1)
    share = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)
    share *= (hit / np.maximum(hit.sum(1, keepdims=True), 1))[..., None]
    starts = np.arange(len(face) + 1) * 4 * SAMPLES**2
    looks = sparse.csr_array((share.ravel().astype(np.float32), texel.ravel(), starts), (len(face), side * side))
    looks.sum_duplicates()
    looks.eliminate_zeros()
    return Looked(
        reference=linear_to_srgb(area_resize(view.rgb, width, height)).reshape(-1, 3),
        behind=linear_to_srgb(area_resize(view.background, width, height)).reshape(-1, 3),
        cover=hit.mean(1, keepdims=True).astype(np.float32),
        looks=looks,
        size=(height, width),
    )


def own_picture(view: Looked) -> Array:
    """Each pixel the colour that brings it nearest to the picture."""
    wanted = (view.reference - (1 - view.cover) * view.behind) / np.maximum(view.cover, 1e-6)
    return view.over(np.clip(wanted, 0, 1))


def coupling(texels: Array, side: int) -> sparse.csr_array:
    """Sum of squared differences of texels beside each other, as a matrix [N, N]; `texels` are flat places [N]."""
    number = np.full(side * side, -1)
    number[texels] = np.arange(len(texels))
    grid = number.reshape(side, side)
    pairs = [np.stack([a, b], -1)[(a >= 0) & (b >= 0)] for a, b in ((grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:]))]
    pair = np.concatenate(pairs)
    signs = np.tile(np.array([-1, 1], np.float32), len(pair))
    difference = sparse.csr_array((signs, pair.ravel(), np.arange(len(pair) + 1) * 2), (len(pair), len(texels)))
    return (difference.T @ difference).tocsr()


def best_texture(
    views: Sequence[Looked], start: Array, tied: sparse.csr_array, stiff: float, gains: bool = False
) -> list[Array]:
    """What each view shows of the texture whose squared error is least; Gauss-Newton, colours stay in 0..1.

    Args:
        views: Matrices onto the N texels.
        start: Linear light, [N, 3].
        tied: `coupling` of the texels.
        stiff: Its weight.
        gains: Whether gain and offset of each view and channel (in sRGB) are free.
    Returns:
        Per view, sRGB [P, 3].
    """
    light, affine = start.copy(), [np.array([[1.0] * 3, [0.0] * 3], np.float32) for _ in views]
    best, least = list[Array](), np.inf
    for _ in range(ROUNDS + 1):
        seen = [view.looks @ light for view in views]
        plain = [linear_to_srgb(now) for now in seen]
        if gains:
            affine = [_affine(view, now) for view, now in zip(views, plain, strict=True)]
        shown = [view.over(now * a[0] + a[1]) for view, now, a in zip(views, plain, affine, strict=True)]
        lack = [view.reference - now for view, now in zip(views, shown, strict=True)]
        error = sum(float(np.square(gap).sum()) for gap in lack)
        if error < least:
            best, least = shown, error
        # The slope of the curve, not steeper than where 2 % of white are: one dark pixel must not throw a step off.
        slopes = [
            view.cover * a[0] * (1.055 / 2.4) * np.maximum(now, 0.02) ** (1 / 2.4 - 1)
            for view, now, a in zip(views, seen, affine, strict=True)
        ]
        light = np.clip(light + _step(views, slopes, lack, light - start, tied, stiff), 0, 1)
    return best


def _step(
    views: Sequence[Looked], slopes: list[Array], lack: list[Array], change: Array, tied: sparse.csr_array, stiff: float
) -> Array:
    """The change of linear light that removes most of what is lacking."""
    hold = 1e-4  # for texels that hardly anybody looks at
    right = sum(view.looks.T @ (slope * gap) for view, slope, gap in zip(views, slopes, lack, strict=True))
    right = right - stiff * (tied @ change) - hold * change
    weights = [np.square(slope) for slope in slopes]
    diagonal = sum(view.looks.power(2).T @ weight.mean(1) for view, weight in zip(views, weights, strict=True))

    def apply(x: Array) -> Array:
        seen = sum(view.looks.T @ (weight * (view.looks @ x)) for view, weight in zip(views, weights, strict=True))
        return np.asarray(seen + stiff * (tied @ x) + hold * x, np.float32)

    return conjugate_gradients(apply, right.astype(np.float32), diagonal + stiff * tied.diagonal() + hold)


def _affine(view: Looked, seen: Array) -> Array:
    """Gain and offset per channel, [2, 3], that bring what is seen of the mesh nearest to the picture."""
    whole = view.cover[:, 0] == 1
    found = [
        np.linalg.lstsq(np.stack([seen[whole, c], np.ones(whole.sum())], 1), view.reference[whole, c], rcond=None)[0]
        for c in range(3)
    ]
    return np.stack(found, 1).astype(np.float32)


def places_of_error(comparison: Comparison) -> dict[str, float]:
    """Squared error per pixel of the frame, by where it lies; see the top of this file."""
    difference = (comparison.reference.astype(np.float32) - comparison.render) / 255
    error = np.square(difference).mean(-1)
    covered = comparison.coverage >= 0.5
    away = np.where(covered, distance_transform_edt(covered), -distance_transform_edt(~covered))
    inside = (away > RIM)[..., None].astype(np.float32)
    part = difference * inside
    smooth = (
        gaussian_filter(part, (BLUR, BLUR, 0)) / np.maximum(gaussian_filter(inside, (BLUR, BLUR, 0)), 1e-6) * inside
    )
    found = {
        "rim": error[np.abs(away) <= RIM].sum(),
        "cover": error[covered != (comparison.mask >= 0.5)].sum(),
        "low": np.square(smooth).mean(-1).sum(),
        "high": np.square(part - smooth).mean(-1).sum(),
        "beyond": error[away < -RIM].sum(),
        "all": error.sum(),
    }
    return {name: float(value) / error.size for name, value in found.items()}


def judged(source: Path, folder: Path) -> tuple[TexturedMesh, list[tuple[View, Camera]]]:
    """The result in a folder, and the views with its cameras."""
    mirrored = json.loads((folder / "quality.json").read_text())["details"]["cameras"].get("mirrored")
    textured = load_textured(folder / "mesh.obj")
    views = read_inputs(source, InputConfig()).views
    if mirrored or not isinstance(textured, TexturedMesh) or any(v.mask_source is MaskSource.ALPHA for v in views):
        raise SystemExit(f"{folder}: only textured results of photographs that are not mirrored can be looked at.")
    return textured, list(zip(views, (camera for _, camera in read_cameras(folder / "cameras.json")), strict=True))


def tell(source: Path, folder: Path) -> None:
    textured, pairs = judged(source, folder)
    now = [compare_view(textured, camera, view, longest=SIDE) for view, camera in pairs]
    print(f"\n{folder.name}: where the squared error lies\n\n| view | PSNR | rim | cover | low | high | beyond |")
    print("| --- " * 7 + "|")
    parts = [places_of_error(comparison) for comparison in now]
    total = {name: fmean(part[name] for part in parts) for name in parts[0]}
    for name, part in [*zip((c.name for c in now), parts, strict=True), ("**all**", total)]:
        shares = " | ".join(
            f"{100 * part[key] / part['all']:.0f} %" for key in ("rim", "cover", "low", "high", "beyond")
        )
        print(f"| {name} | {-10 * np.log10(part['all']):.2f} | {shares} |")

    views = [look(view, camera, textured) for view, camera in pairs]
    texels = np.unique(np.concatenate([view.looks.indices for view in views]))
    for view in views:
        view.looks = view.looks[:, texels]
    painted = area_resize(srgb_to_linear(textured.base_color_srgb / np.float32(255)), TEXTURE, TEXTURE)
    start = painted.reshape(-1, 3)[texels]
    tied = coupling(texels, TEXTURE)
    rows: dict[str, Callable[[], list[Array]]] = {
        "as it is": lambda: [comparison.render.reshape(-1, 3) / np.float32(255) for comparison in now],
        "own picture": lambda: [own_picture(view) for view in views],
        "one texture": lambda: best_texture(views, start, tied, STIFF),
        "gains": lambda: best_texture(views, start, tied, STIFF, gains=True),
        "hatched": lambda: best_texture(views, start, tied, LOOSE),
    }
    names = " | ".join(view.name for view, _ in pairs)
    print(
        f"\n{folder.name}: what would be reached\n\n| | PSNR | SSIM | {names} |\n" + "| --- " * (3 + len(pairs)) + "|"
    )
    for name, shown in rows.items():
        found = [view.figures(picture) for view, picture in zip(views, shown(), strict=True)]
        mean = [fmean(values) for values in zip(*found, strict=True)]
        print(
            f"| {name} | {mean[0]:.2f} | {mean[1]:.4f} | " + " | ".join(f"{p:.1f}" for p, _ in found) + " |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the views")
    parser.add_argument("results", type=Path, nargs="+", help="folders that `meshwright reconstruct` made of them")
    options = parser.parse_args()
    for folder in options.results:
        tell(options.source, folder)


if __name__ == "__main__":
    main()
