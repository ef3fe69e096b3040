"""Warp kernels of the dual extractor. One source for CPU and CUDA.

The first parameter of each is the first item that a launch does (see `meshwright.programs.over_items`).
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp
from meshwright.geometry.tetra.kernels import kept_side

__all__ = [
    "case_kernel",
    "code_kernel",
    "dual_gather_kernel",
    "dual_gradient_kernel",
    "dual_kernel",
    "list_quads_kernel",
    "quad_kernel",
]

Eight = wp.types.vector(length=8, dtype=wp.float32)
Twelve = wp.types.vector(length=12, dtype=wp.float32)
Twelve3 = wp.types.matrix(shape=(12, 3), dtype=wp.float32)
Eight3 = wp.types.matrix(shape=(8, 3), dtype=wp.float32)


@wp.kernel
def code_kernel(
    # In:
    first: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    cubes: wp.array(dtype=wp.int32),  # [C 8]
    # Out:
    codes: wp.array(dtype=wp.int32),  # [C]
):
    c = first + wp.tid()
    code = wp.int32(0)
    for k in range(8):
        code += wp.int32(inside[cubes[8 * c + k]]) << k
    codes[c] = code


@wp.kernel
def case_kernel(
    # In:
    first: wp.int32,
    codes: wp.array(dtype=wp.int32),  # [C]
    beyond: wp.array(dtype=wp.int32),  # [C 6]
    twisted: wp.array(dtype=wp.int32),  # [256]
    count: wp.array(dtype=wp.int32),  # [512]
    # Out:
    cases: wp.array(dtype=wp.int32),  # [C] rows of the patch table
    patches: wp.array(dtype=wp.int32),  # [C]
):
    """Two twisted cubes that share their face are drawn the other way."""
    c = first + wp.tid()
    case = codes[c]
    face = twisted[case]
    if face >= 0:
        other = beyond[6 * c + face]
        if other >= 0:  # noqa: SIM102  (Warp evaluates both sides of `and`)
            if twisted[codes[other]] == (face ^ 1):
                case += 256
    cases[c] = case
    patches[c] = count[case]


@wp.kernel
def quad_kernel(
    # In:
    first: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    edges: wp.array(dtype=wp.vec2i),  # [E]
    around: wp.array(dtype=wp.vec4i),  # [E]
    # Out:
    crossed: wp.array(dtype=wp.int32),  # [E] 0 or 1
):
    e = first + wp.tid()
    edge = edges[e]
    cubes = around[e]
    whole = wp.min(wp.min(cubes[0], cubes[1]), wp.min(cubes[2], cubes[3])) >= 0
    crossed[e] = wp.where(whole and inside[edge[0]] != inside[edge[1]], 1, 0)


@wp.kernel
def list_quads_kernel(
    # In:
    first: wp.int32,
    quad_ends: wp.array(dtype=wp.int32),  # [E] quads up to and with each edge's
    patch_ends: wp.array(dtype=wp.int32),  # [C] patches up to and with each cube's
    quad_capacity: wp.int32,
    patch_capacity: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    edges: wp.array(dtype=wp.vec2i),  # [E]
    axes: wp.array(dtype=wp.int32),  # [E]
    around: wp.array(dtype=wp.vec4i),  # [E]
    cases: wp.array(dtype=wp.int32),  # [C]
    table: wp.array(dtype=wp.int32),  # [512 12] patch of each edge
    names: wp.array(dtype=wp.int32),  # [3 4] what an edge is called in the cubes around it
    # Out:
    crossings: wp.array(dtype=wp.vec2i),  # [quad_capacity] inner and outer end
    quads: wp.array(dtype=wp.vec4i),  # [quad_capacity] patches, counter-clockwise from outside
    quad_cubes: wp.array(dtype=wp.vec4i),  # [quad_capacity] their cubes
):
    e = first + wp.tid()
    before = wp.int32(0)
    if e > 0:
        before = quad_ends[e - 1]
    if quad_ends[e] > before and before < quad_capacity:
        edge = edges[e]
        cubes = around[e]
        axis = axes[e]
        quad = wp.vec4i()
        fits = wp.int32(1)
        for i in range(4):
            c = cubes[i]
            start = wp.int32(0)
            if c > 0:
                start = patch_ends[c - 1]
            quad[i] = start + table[12 * cases[c] + names[4 * axis + i]]
            if quad[i] >= patch_capacity:
                fits = 0
        # The ring turns left around +x, right around +y, left around +z.
        outward = inside[edge[0]] != wp.uint8(0)
        if not outward:
            edge = wp.vec2i(edge[1], edge[0])
        if outward == (axis == 1):
            quad = wp.vec4i(quad[0], quad[3], quad[2], quad[1])
            cubes = wp.vec4i(cubes[0], cubes[3], cubes[2], cubes[1])
        if fits == 1:
            crossings[before] = edge
            quads[before] = quad
            quad_cubes[before] = cubes


@wp.func
def softened(raw: wp.float32) -> wp.float32:
    """From any number to a weight from 0.01 to 1.99."""
    return 1.0 + 0.99 * wp.tanh(raw)


@wp.func
def softened_slope(raw: wp.float32) -> wp.float32:
    t = wp.tanh(raw)
    return 0.99 * (1.0 - t * t)


@wp.kernel
def dual_kernel(
    # In:
    first: wp.int32,
    patch_ends: wp.array(dtype=wp.int32),  # [C]
    capacity: wp.int32,
    cases: wp.array(dtype=wp.int32),  # [C]
    table: wp.array(dtype=wp.int32),  # [512 12]
    corners: wp.array(dtype=wp.int32),  # [12 2] of edges
    cubes: wp.array(dtype=wp.int32),  # [C 8]
    sdf: wp.array(dtype=wp.float32),  # [V]
    held: wp.array(dtype=wp.float32),  # [V]
    least: wp.float32,
    positions: wp.array(dtype=wp.vec3),  # [V]
    weights: wp.array(dtype=wp.float32),  # [C 21] or null
    # Out:
    vertices: wp.array(dtype=wp.vec3),  # [capacity]
    spread: wp.array(dtype=wp.float32),  # [capacity]
):
    """A vertex for each patch: the weighted mean of its edges' crossings, and how uneven its distances to them are."""
    c = first + wp.tid()
    begin = wp.int32(0)
    if c > 0:
        begin = patch_ends[c - 1]
    end = patch_ends[c]
    if end > begin and begin < capacity:
        at = Twelve3()
        beta = Twelve()
        for k in range(12):
            if table[12 * cases[c] + k] >= 0:
                i = cubes[8 * c + corners[2 * k]]
                j = cubes[8 * c + corners[2 * k + 1]]
                a = kept_side(sdf[i], held[i], least)
                b = kept_side(sdf[j], held[j], least)
                beta[k] = wp.float32(1.0)
                if weights:
                    a = a * softened(weights[21 * c + corners[2 * k]])
                    b = b * softened(weights[21 * c + corners[2 * k + 1]])
                    beta[k] = softened(weights[21 * c + 8 + k])
                p = positions[i]
                p = p + (a / (a - b)) * (positions[j] - p)
                for x in range(3):
                    at[k, x] = p[x]
        for patch in range(end - begin):
            if begin + patch < capacity:
                total = wp.float32(0.0)
                count = wp.float32(0.0)
                middle = wp.vec3()
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        total += beta[k]
                        count += 1.0
                        middle += beta[k] * wp.vec3(at[k, 0], at[k, 1], at[k, 2])
                middle = middle / total
                far = wp.float32(0.0)
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        far += wp.length(middle - wp.vec3(at[k, 0], at[k, 1], at[k, 2]))
                far = far / count
                uneven = wp.float32(0.0)
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        uneven += wp.abs(wp.length(middle - wp.vec3(at[k, 0], at[k, 1], at[k, 2])) - far)
                vertices[begin + patch] = middle
                spread[begin + patch] = uneven / count


@wp.kernel
def dual_gradient_kernel(
    # In:
    first: wp.int32,
    patch_ends: wp.array(dtype=wp.int32),  # [C]
    capacity: wp.int32,
    cases: wp.array(dtype=wp.int32),  # [C]
    table: wp.array(dtype=wp.int32),  # [512 12]
    corners: wp.array(dtype=wp.int32),  # [12 2]
    cubes: wp.array(dtype=wp.int32),  # [C 8]
    sdf: wp.array(dtype=wp.float32),  # [V]
    held: wp.array(dtype=wp.float32),  # [V]
    least: wp.float32,
    positions: wp.array(dtype=wp.vec3),  # [V]
    weights: wp.array(dtype=wp.float32),  # [C 21] or null
    dvertices: wp.array(dtype=wp.vec3),  # [capacity]
    dspread: wp.array(dtype=wp.float32),  # [capacity]
    # Out:
    shares: wp.array(dtype=wp.float32),  # [capacity 8 4] for each corner that of its place and of its value
    dweights: wp.array(dtype=wp.float32),  # [C 21] or null, zeros before
):
    """Each cube works out what its own patches want; `dual_gather_kernel` adds that up for the corners."""
    c = first + wp.tid()
    begin = wp.int32(0)
    if c > 0:
        begin = patch_ends[c - 1]
    end = patch_ends[c]
    if end > begin and begin < capacity:
        at = Twelve3()
        dat = Twelve3()
        beta = Twelve()
        dbeta = Twelve()
        share = Twelve()
        for k in range(12):
            if table[12 * cases[c] + k] >= 0:
                i = cubes[8 * c + corners[2 * k]]
                j = cubes[8 * c + corners[2 * k + 1]]
                a = kept_side(sdf[i], held[i], least)
                b = kept_side(sdf[j], held[j], least)
                beta[k] = wp.float32(1.0)
                if weights:
                    a = a * softened(weights[21 * c + corners[2 * k]])
                    b = b * softened(weights[21 * c + corners[2 * k + 1]])
                    beta[k] = softened(weights[21 * c + 8 + k])
                share[k] = a / (a - b)
                p = positions[i]
                p = p + share[k] * (positions[j] - p)
                for x in range(3):
                    at[k, x] = p[x]
        for patch in range(end - begin):
            if begin + patch < capacity:
                total = wp.float32(0.0)
                count = wp.float32(0.0)
                middle = wp.vec3()
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        total += beta[k]
                        count += 1.0
                        middle += beta[k] * wp.vec3(at[k, 0], at[k, 1], at[k, 2])
                middle = middle / total
                far = wp.float32(0.0)
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        far += wp.length(middle - wp.vec3(at[k, 0], at[k, 1], at[k, 2]))
                far = far / count
                signs = wp.float32(0.0)
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        signs += wp.sign(wp.length(middle - wp.vec3(at[k, 0], at[k, 1], at[k, 2])) - far)
                signs = signs / count
                g = dvertices[begin + patch]
                uneven = dspread[begin + patch] / count
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        away = middle - wp.vec3(at[k, 0], at[k, 1], at[k, 2])
                        distance = wp.length(away)
                        if distance > 0.0:
                            pull = uneven * (wp.sign(distance - far) - signs) / distance
                            g += pull * away
                            for x in range(3):
                                dat[k, x] = -pull * away[x]
                for k in range(12):
                    if table[12 * cases[c] + k] == patch:
                        away = middle - wp.vec3(at[k, 0], at[k, 1], at[k, 2])
                        dbeta[k] = -wp.dot(g, away) / total
                        for x in range(3):
                            dat[k, x] = dat[k, x] + g[x] * beta[k] / total
        dplace = Eight3()
        dvalue = Eight()
        dalpha = Eight()
        for k in range(12):
            if table[12 * cases[c] + k] >= 0:
                low = corners[2 * k]
                high = corners[2 * k + 1]
                i = cubes[8 * c + low]
                j = cubes[8 * c + high]
                t = share[k]
                along = wp.float32(0.0)
                for x in range(3):
                    dplace[low, x] = dplace[low, x] + (1.0 - t) * dat[k, x]
                    dplace[high, x] = dplace[high, x] + t * dat[k, x]
                    along += dat[k, x] * (positions[j][x] - positions[i][x])
                a = kept_side(sdf[i], held[i], least)
                b = kept_side(sdf[j], held[j], least)
                low_weight = wp.float32(1.0)
                high_weight = wp.float32(1.0)
                if weights:
                    low_weight = softened(weights[21 * c + low])
                    high_weight = softened(weights[21 * c + high])
                along = along / (a * low_weight - b * high_weight)
                dvalue[low] = dvalue[low] + along * (1.0 - t) * low_weight
                dvalue[high] = dvalue[high] + along * t * high_weight
                dalpha[low] = dalpha[low] + along * (1.0 - t) * a
                dalpha[high] = dalpha[high] + along * t * b
        for k in range(8):
            for x in range(3):
                shares[32 * begin + 4 * k + x] = dplace[k, x]
            shares[32 * begin + 4 * k + 3] = dvalue[k]
        if weights:
            for k in range(8):
                dweights[21 * c + k] = dalpha[k] * softened_slope(weights[21 * c + k])
            for k in range(12):
                dweights[21 * c + 8 + k] = dbeta[k] * softened_slope(weights[21 * c + 8 + k])


@wp.kernel
def dual_gather_kernel(
    # In:
    first: wp.int32,
    corner_of: wp.array(dtype=wp.int32),  # [V 8]
    patch_ends: wp.array(dtype=wp.int32),  # [C]
    capacity: wp.int32,
    shares: wp.array(dtype=wp.float32),  # [capacity 8 4]
    sdf: wp.array(dtype=wp.float32),  # [V]
    held: wp.array(dtype=wp.float32),  # [V]
    least: wp.float32,
    # Out:
    dsdf: wp.array(dtype=wp.float32),  # [V]
    dpositions: wp.array(dtype=wp.vec3),  # [V]
):
    """Each corner gathers from its cubes: nothing is shared while it is written, and the order is always the same."""
    v = first + wp.tid()
    push = wp.vec3()
    slope = wp.float32(0.0)
    for k in range(8):
        c = corner_of[8 * v + k]
        if c >= 0:
            begin = wp.int32(0)
            if c > 0:
                begin = patch_ends[c - 1]
            if patch_ends[c] > begin and begin < capacity:
                at = 32 * begin + 4 * k
                push += wp.vec3(shares[at], shares[at + 1], shares[at + 2])
                slope += shares[at + 3]
    # What is kept on its side by force does not move with its value.
    if kept_side(sdf[v], held[v], least) != sdf[v]:
        slope = 0.0
    dsdf[v] = slope
    dpositions[v] = push
