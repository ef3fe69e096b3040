from __future__ import annotations

import numpy as np
import pytest

from meshwright.inputs import InputConfig
from meshwright.inputs.depth import decide_kind, read_depth
from meshwright.inputs.faults import BadFileError
from meshwright.inputs.images import Picture
from meshwright.types import DepthKind


def picture(codes: np.ndarray, bits: int = 8, *, channels: int = 1, alpha: np.ndarray | None = None) -> Picture:
    colour = np.repeat(codes.astype(np.uint16 if bits == 16 else np.uint8)[..., None], channels, -1)
    return Picture(colour=colour, alpha=alpha, bits=bits)  # type: ignore[arg-type]


def block(value: int = 180) -> np.ndarray:
    codes = np.zeros((40, 50), int)
    codes[10:30, 12:40] = value
    return codes


@pytest.mark.parametrize(("bits", "top"), [(8, 255), (16, 65535)])
@pytest.mark.parametrize("channels", [1, 3])
def test_codes_become_shares_of_the_largest_code(bits: int, top: int, channels: int) -> None:
    codes = block(top) - block(top) // 3
    depth = read_depth(picture(codes, bits, channels=channels), InputConfig())
    assert depth.step == 1 / top
    np.testing.assert_allclose(depth.values, codes / top, rtol=1e-6)
    np.testing.assert_array_equal(depth.valid, codes > 0)
    assert depth.values.dtype == np.float32


def test_stray_pixels_are_background() -> None:
    codes = block()
    codes[0, 0], codes[35, 45:47] = 90, 3
    depth = read_depth(picture(codes), InputConfig())
    np.testing.assert_array_equal(depth.valid, block() > 0)
    assert depth.values[0, 0] == 0


def test_a_second_part_of_some_size_is_kept() -> None:
    codes = block()
    codes[33:38, 3:9] = 77
    assert read_depth(picture(codes), InputConfig()).valid[35, 5]


def test_transparent_pixels_are_background() -> None:
    alpha = np.zeros((40, 50), np.uint8)
    alpha[10:20] = 255
    depth = read_depth(picture(block(), alpha=alpha), InputConfig())
    assert depth.valid.sum() == 10 * 28


def test_a_blank_render_is_empty_not_wrong() -> None:
    assert not read_depth(picture(block(0)), InputConfig()).valid.any()


def test_colour_is_refused() -> None:
    coloured = picture(block(), channels=3)
    coloured.colour[15, 15, 1] += 1
    with pytest.raises(BadFileError, match="its channels are equal"):
        read_depth(coloured, InputConfig())


@pytest.mark.parametrize(
    ("unit", "bits", "length"),
    [("mm", 16, 65.535), ("0.1mm", 16, 6.5535), (0.01, 8, 2.55), ("0.5", 8, 127.5), ("m", 8, 255.0)],
)
def test_a_unit_makes_it_metric(unit: str | float, bits: int, length: float) -> None:
    depth = read_depth(picture(block(), bits), InputConfig(depth_unit=unit))
    assert depth.kind is DepthKind.METRIC
    assert depth.unit == pytest.approx(length)
    # 180 codes, each `unit` long.
    code = depth.unit * depth.step
    assert depth.values.max() * depth.unit == pytest.approx(180 * code, rel=1e-5)


@pytest.mark.parametrize("kind", list(DepthKind))
def test_what_the_user_says_holds(kind: DepthKind) -> None:
    assert read_depth(picture(block()), InputConfig(depth_kind=kind)).kind is kind


def test_sixteen_bits_mean_metric_unless_every_view_is_stretched() -> None:
    def maps(*tops: int, bits: int = 16):
        return [read_depth(picture(block(top), bits), InputConfig()) for top in tops]

    assert decide_kind(maps(26_000, 30_000)) is DepthKind.METRIC
    assert decide_kind(maps(65_535, 30_000)) is DepthKind.METRIC
    assert decide_kind(maps(65_535, 65_534)) is DepthKind.AUTO
    assert decide_kind(maps(200, 255, bits=8)) is DepthKind.AUTO
