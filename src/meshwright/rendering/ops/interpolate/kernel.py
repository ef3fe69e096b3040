"""Vertex attributes blended into pictures, with their derivatives across the screen.

With corner values a0, a1, a2 a pixel gets u a0 + v a1 + (1 - u - v) a2, and its derivative along X is
du/dX (a0 - a2) + dv/dX (a1 - a2).
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.rendering.ops.scatter import Sum, add_up
from meshwright.rendering.ops.warps import BUSY, load4, peers, place_of, store4

wp.set_module_options({"enable_backward": False})


def make_blend_kernel(group: int) -> wp.Kernel:
    """One picture value a pixel and channel; 0 where nothing is seen. `group` channels at a time can be unrolled."""

    @wp.kernel(enable_backward=False, module="unique", **BUSY)
    def blend_kernel(
        # In:
        first: wp.int32,
        last: wp.int32,
        span: wp.int32,
        height: wp.int32,
        width: wp.int32,
        attr: wp.array[wp.float32],  # [V C] or [N V C]
        tri: wp.array[wp.vec3i],  # [F]
        rast: wp.array[wp.vec4],  # [N H W]
        rast_db: wp.array[wp.vec4],  # [N H W] or null
        chosen: wp.array[wp.int32],  # [A], the attributes whose derivatives are wanted
        channels: wp.int32,  # C
        choices: wp.int32,  # A
        stride: wp.int32,  # V, or 0 where all views share the attributes
        # Out:
        out: wp.array[wp.float32],  # [N H W C]
        out_da: wp.array[wp.float32],  # [N H W 2A]
    ):
        place = place_of(wp.tid(), first, last, span, height, width)
        offset = place.view * stride
        for q in range(place.first, place.stop):
            r = load4(rast, q)
            to = q * channels
            to_da = q * choices * 2
            if r[3] > 0.0:
                corner = tri[wp.int32(r[3]) - 1]
                i0 = (offset + corner[0]) * channels
                i1 = (offset + corner[1]) * channels
                i2 = (offset + corner[2]) * channels
                w = 1.0 - r[0] - r[1]
                for c0 in range(0, channels, group):
                    for k in range(group):
                        c = c0 + k
                        out[to + c] = r[0] * attr[i0 + c] + r[1] * attr[i1 + c] + w * attr[i2 + c]
                if choices > 0:
                    d = load4(rast_db, q)
                    for j in range(choices):
                        c = chosen[j]
                        a2 = attr[i2 + c]
                        along_u = attr[i0 + c] - a2
                        along_v = attr[i1 + c] - a2
                        out_da[to_da + 2 * j] = d[0] * along_u + d[2] * along_v
                        out_da[to_da + 2 * j + 1] = d[1] * along_u + d[3] * along_v
            else:
                for c in range(channels):
                    out[to + c] = 0.0
                for k in range(2 * choices):
                    out_da[to_da + k] = 0.0

    return blend_kernel


def make_gradient_kernel(group: int) -> wp.Kernel:
    """From the pictures back to attributes, weights and their derivatives, `group` channels at a time."""
    at_once = group if group in (2, 4) else 1

    @wp.kernel(enable_backward=False, module="unique", **BUSY)
    def gradient_kernel(
        # In:
        first: wp.int32,
        last: wp.int32,
        span: wp.int32,
        height: wp.int32,
        width: wp.int32,
        attr: wp.array[wp.float32],  # [V C] or [N V C]
        tri: wp.array[wp.vec3i],  # [F]
        rast: wp.array[wp.vec4],  # [N H W]
        rast_db: wp.array[wp.vec4],  # [N H W] or null
        ranks: wp.array[wp.int32],  # [C], where among the chosen an attribute comes, or -1
        dout: wp.array[wp.float32],  # [N H W C] or null
        dout_da: wp.array[wp.float32],  # [N H W 2A] or null
        channels: wp.int32,  # C
        choices: wp.int32,  # A
        stride: wp.int32,  # V, or 0 where all views share the attributes
        attr_wanted: wp.int32,
        # Out:
        drast: wp.array[wp.vec4],  # [N H W] or null
        drast_db: wp.array[wp.vec4],  # [N H W] or null
        dattr: Sum,  # as attr
    ):
        place = place_of(wp.tid(), first, last, span, height, width)
        offset = place.view * stride
        for q in range(place.first, place.stop):
            r = load4(rast, q)
            du = wp.float32(0.0)
            dv = wp.float32(0.0)
            dux = wp.float32(0.0)
            duy = wp.float32(0.0)
            dvx = wp.float32(0.0)
            dvy = wp.float32(0.0)
            if r[3] > 0.0:
                corner = tri[wp.int32(r[3]) - 1]
                i0 = (offset + corner[0]) * channels
                i1 = (offset + corner[1]) * channels
                i2 = (offset + corner[2]) * channels
                d = wp.vec4(0.0, 0.0, 0.0, 0.0)
                if rast_db:
                    d = load4(rast_db, q)
                key = wp.where(attr_wanted == 1, wp.int32(r[3]), -1)
                among = peers(key, -1)  # a tile lies in one view: its pixels with this name see the same corners
                for c0 in range(0, channels, group):
                    weigh0 = wp.vec4(0.0, 0.0, 0.0, 0.0)
                    weigh1 = wp.vec4(0.0, 0.0, 0.0, 0.0)
                    weigh2 = wp.vec4(0.0, 0.0, 0.0, 0.0)
                    for k in range(group):
                        c = c0 + k
                        a2 = attr[i2 + c]
                        along_u = attr[i0 + c] - a2
                        along_v = attr[i1 + c] - a2
                        g = wp.float32(0.0)
                        if dout:
                            g = dout[q * channels + c]
                        du += g * along_u
                        dv += g * along_v
                        g0 = g * r[0]
                        g1 = g * r[1]
                        if dout_da:
                            j = ranks[c]
                            if j >= 0:
                                gx = dout_da[(q * choices + j) * 2]
                                gy = dout_da[(q * choices + j) * 2 + 1]
                                dux += gx * along_u
                                duy += gy * along_u
                                dvx += gx * along_v
                                dvy += gy * along_v
                                g0 += gx * d[0] + gy * d[1]
                                g1 += gx * d[2] + gy * d[3]
                        weigh0[k] = g0
                        weigh1[k] = g1
                        weigh2[k] = g - g0 - g1
                    if attr_wanted == 1:
                        add_up(dattr, i0 + c0, weigh0, group, at_once, key, among)
                        add_up(dattr, i1 + c0, weigh1, group, at_once, key, among)
                        add_up(dattr, i2 + c0, weigh2, group, at_once, key, among)
            if drast:
                store4(drast, q, wp.vec4(du, dv, 0.0, 0.0))
            if drast_db:
                store4(drast_db, q, wp.vec4(dux, duy, dvx, dvy))

    return gradient_kernel
