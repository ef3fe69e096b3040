"""Segmentation against silhouettes that are known exactly, drawn here, and against the alpha of the sample renders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from meshwright.inputs.background import fill_behind
from meshwright.inputs.frame import dilate, erode, without_threads
from meshwright.inputs.hint import place_hint
from meshwright.inputs.images import Picture
from meshwright.inputs.masks import find_silhouette
from meshwright.inputs.matte import soften
from meshwright.inputs.segment import segment
from meshwright.types import VIEW_NAMES, DepthMap, MaskSource

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SIDE = 256


def coverage(inside, side: int = SIDE, fine: int = 8) -> np.ndarray:
    """Exact-to-1/64 coverage of a shape given as a function of pixel coordinates."""
    y, x = (np.mgrid[: side * fine, : side * fine] + 0.5) / fine
    return inside(x, y).reshape(side, fine, side, fine).mean((1, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [(7, 5), (3, 40), (300, 20)])
@pytest.mark.parametrize("radius", [1.5, 2, 2.5, 5, 7.5, 14])
def test_discs_reach_as_far_as_distances(shape: tuple[int, int], radius: float) -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        region = rng.random(shape) < share
        near = ndimage.distance_transform_edt(~region) <= radius if region.any() else region
        deep = ndimage.distance_transform_edt(region) > radius if not region.all() else region
        np.testing.assert_array_equal(dilate(region, radius), near)
        np.testing.assert_array_equal(erode(region, radius), deep)


def blob(x, y):
    """A body, a thin arm (4 pixels) and two legs."""
    body = ((x - 128) / 55) ** 2 + ((y - 110) / 62) ** 2 < 1
    arm = (np.abs(y - 100 - 0.2 * (x - 128)) < 2) & (x > 128) & (x < 225)
    legs = (np.abs(np.abs(x - 128) - 28) < 12) & (y > 110) & (y < 205)
    return body | arm | legs


BLOB = coverage(blob)


def painted(mask: np.ndarray, ground: np.ndarray, colour=(0.75, 0.2, 0.15)) -> np.ndarray:
    y = np.linspace(1.1, 0.8, mask.shape[0])[:, None, None]
    return (np.array(colour) * y * mask[..., None] + ground * (1 - mask[..., None])).astype(np.float32)


def plain(level: float = 0.96) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), level)


def slope() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return (0.95 - 0.15 * y - 0.05 * x)[..., None] * np.array([1.0, 0.99, 0.97])


def tiles() -> np.ndarray:
    """Rectangles of slightly different white, as stitched pictures have."""
    ground = plain(0.985)
    ground[150:, 90:] -= 4 / 255
    ground[:60, 170:] -= 3 / 255
    return ndimage.gaussian_filter(ground, (2, 2, 0))


def shadowed() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    dark = np.clip(1.25 - ((x - 128) / 70) ** 2 - ((y - 207) / 12) ** 2, 0, 1)
    return plain() * (1 - 0.7 * ndimage.gaussian_filter(dark, 5)[..., None])


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.float32) / 255


def noisy(picture: np.ndarray, codes: float) -> np.ndarray:
    return (picture + np.random.default_rng(0).normal(0, codes / 255, picture.shape)).astype(np.float32)


def soft_iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


GROUNDS = {
    "white": (painted(BLOB, plain(1.0)), 0.995),
    "grey": (painted(BLOB, plain(0.5)), 0.995),
    "black": (painted(BLOB, plain(0.0)), 0.995),
    "brighter than the object": (painted(BLOB, plain(1.0), (0.93, 0.92, 0.9)), 0.99),
    "slope": (painted(BLOB, slope()), 0.99),
    "tiles": (painted(BLOB, tiles()), 0.99),
    "soft shadow": (painted(BLOB, shadowed()), 0.98),
    "grain": (noisy(painted(BLOB, plain()), 3), 0.985),
    "compressed": (jpeg(painted(BLOB, plain()), 80), 0.98),
    "compressed slope": (jpeg(painted(BLOB, slope()), 85), 0.98),
}


@pytest.mark.parametrize("name", GROUNDS)
def test_known_silhouette_on_many_grounds(name: str) -> None:
    picture, least = GROUNDS[name]
    matte = segment(picture, None)
    assert matte is not None
    assert matte.alpha.dtype == np.float32
    assert matte.alpha.min() >= 0
    assert matte.alpha.max() <= 1
    assert soft_iou(matte.alpha, BLOB) >= least
    # The three parts give the picture back.
    again = matte.foreground * matte.alpha[..., None] + matte.background * (1 - matte.alpha[..., None])
    assert np.abs(again - picture).mean() < 0.003


def test_edges_are_placed_to_a_fraction_of_a_pixel() -> None:
    """Shift a disc by tenths of a pixel: the area centre follows to 1/50."""
    for shift in (0.0, 0.1, 0.37, 0.5, 0.83):
        mask = coverage(lambda x, y, s=shift: (x - 120 - s) ** 2 + (y - 128) ** 2 < 60**2)
        matte = segment(painted(mask, plain(1.0)), None)
        assert matte is not None
        x = np.arange(SIDE) + 0.5
        found = (matte.alpha.sum(0) * x).sum() / matte.alpha.sum()
        assert abs(found - 120 - shift) < 0.02
        assert matte.alpha.sum() == pytest.approx(mask.sum(), rel=0.003)


def test_colours_at_soft_edges_are_the_objects_own() -> None:
    """No white fringe: where half a pixel is ground, the colour is still the object's."""
    matte = segment(painted(BLOB, plain(1.0)), None)
    assert matte is not None
    edge = (BLOB > 0.3) & (BLOB < 0.9) & (matte.alpha > 0.3)
    true = painted(np.ones_like(BLOB), plain(1.0))
    assert edge.sum() > 200
    assert np.abs(matte.foreground - true)[edge].mean() < 0.03
    assert np.abs(painted(BLOB, plain(1.0)) - true)[edge].mean() > 0.15


def test_ground_in_a_hole_is_ground_and_a_white_eye_is_object() -> None:
    def ring(x, y):
        r = np.hypot(x - 128, y - 128)
        return (r < 90) & (r > 34)

    mask = coverage(ring)
    picture = painted(mask, plain(1.0))
    eye = coverage(lambda x, y: np.hypot(x - 70, y - 110) < 4)
    matte = segment((picture * (1 - eye[..., None]) + eye[..., None]).astype(np.float32), None)
    assert matte is not None
    assert soft_iou(matte.alpha, mask) > 0.99
    assert matte.alpha[110, 70] == 1


def test_depth_tells_a_white_patch_from_a_hole() -> None:
    """A white disc on the object is a hole to the eye; the depth render says that it is not."""
    body = coverage(lambda x, y: np.hypot(x - 128, y - 128) < 90)
    patch = coverage(lambda x, y: np.hypot(x - 128, y - 128) < 25)
    picture = painted(body, plain(1.0))
    picture = (picture * (1 - patch[..., None]) + patch[..., None]).astype(np.float32)
    without, given = segment(picture, None), segment(picture, np.roll(body, 3, 1))
    assert without is not None
    assert given is not None
    assert without.alpha[128, 128] == 0
    assert soft_iou(given.alpha, body) > 0.99


def test_specks_are_dropped_and_a_second_part_is_kept() -> None:
    def parts(x, y):
        return (np.hypot(x - 90, y - 128) < 50) | (np.hypot(x - 200, y - 128) < 20)

    mask = coverage(parts)
    picture = painted(mask, plain())
    picture[20:22, 30:32] = 0.3
    matte = segment(picture, None)
    assert matte is not None
    assert matte.alpha[15:30, 25:40].max() == 0
    assert soft_iou(matte.alpha, mask) > 0.99


def test_large_and_enlarged_pictures_are_cut_as_precisely() -> None:
    """A picture above the working size, and one that is blurred by enlarging."""
    fine = coverage(lambda x, y: blob(x / 5, y / 5), side=5 * SIDE, fine=1)
    ground = np.full((*fine.shape, 3), 0.96)
    matte = segment(painted(fine, ground), None)
    assert matte is not None
    assert soft_iou(matte.alpha, fine) > 0.995
    enlarged = np.asarray(
        Image.fromarray(np.round(painted(BLOB, plain()) * 255).astype(np.uint8)).resize((1100, 1100), 3), np.float32
    )
    matte = segment(enlarged / 255, None)
    assert matte is not None
    truth = np.asarray(Image.fromarray(BLOB).resize((1100, 1100), 3))
    assert soft_iou(matte.alpha, np.clip(truth, 0, 1)) > 0.97


@pytest.mark.parametrize(
    "picture",
    [
        np.full((64, 64, 3), 0.5, np.float32),
        slope().astype(np.float32),
        np.random.default_rng(0).random((64, 64, 3)).astype(np.float32),
    ],
    ids=["one colour", "slope", "noise"],
)
def test_nothing_to_cut_out(picture: np.ndarray) -> None:
    assert segment(picture, None) is None


def test_mirrored_pictures_have_mirrored_masks() -> None:
    picture = GROUNDS["soft shadow"][0]
    straight, mirrored = segment(picture, None), segment(np.ascontiguousarray(picture[:, ::-1]), None)
    assert straight is not None
    assert mirrored is not None
    assert np.abs(straight.alpha - mirrored.alpha[:, ::-1]).mean() < 1e-3


def test_hint_finds_scale_and_shift() -> None:
    """A silhouette 3 % narrower and shifted by 2 % of the frame comes to lie on the true one, within a pixel or two."""
    moved = coverage(lambda x, y: blob((x - 128 - 5) / 0.97 + 128, (y - 128 + 4) / 0.97 + 128)) > 0.5
    hint = place_hint(moved, BLOB > 0.5)
    assert hint is not None
    placed = hint.distance > 0
    assert (placed & (BLOB > 0.5)).sum() / (placed | (BLOB > 0.5)).sum() > 0.93
    assert not (hint.inside & (BLOB < 0.5)).any()
    assert place_hint(np.roll(moved, 90, 0), BLOB > 0.5) is None


def test_soften_leaves_all_or_nothing_alone() -> None:
    picture = painted(BLOB, plain())
    for region in (np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)):
        matte = soften(picture, region, noise=0.0, scale=1.0)
        np.testing.assert_array_equal(matte.alpha, region.astype(np.float32))
        np.testing.assert_array_equal(matte.foreground, picture)


@pytest.mark.parametrize("shape", [(7, 5), (3, 40), (1, 1)])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_what_has_no_room_for_a_diamond_is_a_thread(shape: tuple[int, int], share: float) -> None:
    region = np.random.default_rng(1).random(shape) < share
    np.testing.assert_array_equal(without_threads(region), ndimage.binary_opening(region, iterations=2))


def test_fill_behind_is_pull_and_push_over_the_whole_picture() -> None:
    """Odd sizes, and weights between 0 and 1; only the part that misses something is computed, to the same bits."""
    rng = np.random.default_rng(2)
    image = rng.random((37, 53, 3)).astype(np.float32)
    weight = np.ones((37, 53), np.float32)
    weight[8:30, 11:40] = np.clip(rng.normal(0.2, 0.4, (22, 29)), 0, 1)
    np.testing.assert_array_equal(fill_behind(image, weight), filled_slowly(image, weight[..., None]))


def filled_slowly(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    if image.shape[:2] == (1, 1):
        return image * (known > 0)

    def halved(values: np.ndarray) -> np.ndarray:
        even = np.pad(values, [(0, side % 2) for side in values.shape[:2]] + [(0, 0)], mode="edge")
        return (even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)

    share = halved(known)
    below = filled_slowly(halved(image * known) / np.maximum(share, 1e-12), np.minimum(share * 4, 1))
    for axis in (0, 1):
        near, far = np.float32(0.75) * below, np.float32(0.25) * below
        ends = np.pad(far, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = ends.take(range(below.shape[axis]), axis), ends.take(range(2, below.shape[axis] + 2), axis)
        below = np.stack([near + before, near + after], axis + 1).reshape(
            [side * (2 if a == axis else 1) for a, side in enumerate(below.shape)]
        )
    return image * known + below[: image.shape[0], : image.shape[1]] * (1 - known)


def test_fill_behind_continues_a_slope_and_keeps_what_is_known() -> None:
    ground = slope().astype(np.float32)
    known = (BLOB <= 0).astype(np.float32)
    filled = fill_behind(np.where(known[..., None] > 0, ground, 5.0).astype(np.float32), known)
    np.testing.assert_array_equal(filled[known > 0], ground[known > 0])
    assert np.abs(filled - ground).max() < 0.06
    assert not fill_behind(ground, np.zeros_like(known)).any()


def as_picture(rgb: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
    codes = np.round(rgb * 255).astype(np.uint8)
    return Picture(colour=codes, alpha=None if alpha is None else np.round(alpha * 255).astype(np.uint8), bits=8)


def depth_of(mask: np.ndarray) -> DepthMap:
    valid = mask > 0.5
    return DepthMap(values=valid * np.float32(0.5), valid=valid, step=1 / 255)


def test_alpha_comes_first_and_is_taken_as_it_is() -> None:
    found = find_silhouette(as_picture(painted(BLOB, plain()), BLOB), depth_of(1 - BLOB))
    assert found.source is MaskSource.ALPHA
    np.testing.assert_allclose(found.mask, BLOB, atol=0.5 / 255)
    assert (found.background == 1).all()


def test_alpha_that_hides_nothing_does_not_count() -> None:
    found = find_silhouette(as_picture(painted(BLOB, plain()), np.ones_like(BLOB)), None)
    assert found.source is MaskSource.BACKGROUND
    assert soft_iou(found.mask, BLOB) > 0.98


def test_depth_is_the_last_resort() -> None:
    busy = np.random.default_rng(0).random((SIDE, SIDE, 3)).astype(np.float32)
    found = find_silhouette(as_picture(busy), depth_of(BLOB))
    assert found.source is MaskSource.DEPTH
    assert soft_iou(found.mask, (BLOB > 0.5).astype(np.float32)) > 0.999
    nothing = find_silhouette(as_picture(busy), None)
    assert (nothing.source, nothing.code) == (MaskSource.NONE, "input.background")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "with_depth"), [("spot", False), ("spot", True), ("bob", False), ("fox", False), ("banana", False)]
)
def test_sample_renders_on_white(name: str, with_depth: bool) -> None:
    """The alpha of the same render is the truth. Measured: mean 0.9984 (0.9979 soft), worst view 0.9956."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip("the sample renders (../shared/data) are not here")
    scores = []
    for view in VIEW_NAMES:
        truth = np.asarray(Image.open(folder / "views" / f"{view}.png"), np.float32)[..., 3] / 255
        white = np.asarray(Image.open(folder / "views_white" / f"{view}.png").convert("RGB"), np.float32) / 255
        depth = None
        if with_depth:
            depth = (np.asarray(Image.open(folder / "depth_linear8" / f"{view}.png")) > 0).astype(np.float32)
        matte = segment(white, depth)
        assert matte is not None
        scores.append(soft_iou(matte.alpha, truth))
    assert np.mean(scores) >= 0.995
    assert min(scores) >= 0.99


# Pixels of the photographed shoe whose side was decided by eye, (column, row) of 1024.
SHOE_OBJECT = {
    "front": [(510, 600), (312, 610), (708, 600), (440, 370), (600, 420), (500, 660), (370, 480)],
    "back": [(530, 310), (420, 500), (350, 580), (645, 580), (540, 650), (540, 695)],
    "left": [(60, 560), (200, 590), (880, 600), (560, 320), (435, 345), (500, 633), (890, 575), (850, 385)],
    "right": [(140, 590), (930, 560), (460, 315), (200, 381), (500, 640), (700, 645), (600, 350)],
    "top": [(500, 100), (395, 200), (645, 250), (500, 600), (500, 895), (560, 840), (660, 365)],
    "bottom": [(520, 45), (370, 200), (650, 300), (520, 900), (385, 500), (500, 920)],
}
SHOE_GROUND = {
    "front": [(510, 695), (330, 690), (700, 690), (510, 900), (100, 800), (280, 560), (750, 560)],
    "back": [(540, 725), (360, 690), (700, 690), (200, 600), (340, 400), (540, 270)],
    "left": [(60, 635), (110, 640), (500, 665), (930, 640), (700, 350), (20, 560), (900, 800)],
    "right": [(960, 650), (900, 655), (120, 645), (500, 670), (300, 380), (60, 500), (1000, 400)],
    "top": [(370, 300), (330, 600), (690, 300), (660, 700), (500, 990), (380, 900), (520, 60)],
    "bottom": [(520, 15), (340, 300), (700, 300), (360, 700), (675, 700), (500, 980)],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("view", "with_depth"), [*((view, True) for view in VIEW_NAMES), ("front", False), ("left", False)]
)
def test_white_sole_on_white_ground(view: str, with_depth: bool) -> None:
    """Sole, laces and lining are object; floor shadows and tiles of another white are not."""
    folder = DATA / "real_shoe"
    if not folder.is_dir():
        pytest.skip("the photographed sample (../shared/data/real_shoe) is not here")
    picture = np.asarray(Image.open(folder / "views" / f"{view}.png").convert("RGB"), np.float32) / 255
    depth = (np.asarray(Image.open(folder / "depth" / f"{view}.png")) > 0).astype(np.float32) if with_depth else None
    matte = segment(picture, depth)
    assert matte is not None
    wrong = [place for place in SHOE_OBJECT[view] if matte.alpha[place[1], place[0]] < 0.9]
    wrong += [place for place in SHOE_GROUND[view] if matte.alpha[place[1], place[0]] > 0.1]
    assert wrong == []
    assert ndimage.label(matte.alpha > 0.5)[1] == 1
