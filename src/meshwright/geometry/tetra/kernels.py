"""Warp kernels of the lattices and of what is extracted from them. One source for CPU and CUDA.

The first parameter of each is the first item that a launch does (see `meshwright.programs.over_items`).
"""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["corner_kernel", "slot_kernel"]


@wp.kernel
def corner_kernel(
    # In:
    first: wp.int32,
    names: wp.array(dtype=wp.int64),  # [T] numbers of names, see tetrahedra.py
    name_low: wp.int32,
    name_y: wp.int64,  # sides of the box of names
    name_z: wp.int64,
    low: wp.int32,
    side_y: wp.int64,  # sides of the box of places
    side_z: wp.int64,
    top_x: wp.int32,  # the domain's upper corner
    top_y: wp.int32,
    top_z: wp.int32,
    # Out:
    corners: wp.array(dtype=wp.int64),  # [T 4] numbers of places; -1 for a point that no domain has
):
    """From names to corners, the same as `tetrahedra.corners_of`."""
    t = first + wp.tid()
    number = names[t]
    line = number // name_z
    name = wp.vec3i()
    name[0] = wp.int32(line // name_y) + name_low
    name[1] = wp.int32(line % name_y) + name_low
    name[2] = wp.int32(number % name_z) + name_low
    top = wp.vec3i(top_x, top_y, top_z)
    along = wp.int32(0)
    odd = wp.int32(0)
    across = wp.int32(0)
    side = wp.int32(1)
    middle = wp.vec3i()
    for axis in range(3):
        left = name[axis] & 3
        if left == 0:
            along = axis
            middle[axis] = name[axis] >> 1
        elif left == 2:
            across = axis
            middle[axis] = name[axis] >> 1
        else:
            odd = axis
            if left == 1:
                side = -1
            middle[axis] = (name[axis] - side) >> 1
    swap = wp.int32(0)
    if ((odd - along + 3) % 3 == 1) != (side > 0):
        swap = 1
    outer = wp.int32(0)
    for corner in range(4):
        p = middle
        if corner < 2:
            p[along] = p[along] + 2 * corner - 1
        else:
            p[odd] = p[odd] + side
            p[across] = p[across] + 2 * (corner ^ swap) - 5
        beyond = wp.int32(0)
        for axis in range(3):
            if p[axis] < 0 or p[axis] > top[axis]:
                beyond += 1
            if p[axis] < -1 or p[axis] > top[axis] + 1:
                beyond += 2
        found = wp.int64(-1)
        if beyond < 2:
            found = (wp.int64(p[0] - low) * side_y + wp.int64(p[1] - low)) * side_z + wp.int64(p[2] - low)
        outer += wp.min(beyond, 1)
        corners[4 * t + corner] = found
    # Of a tetrahedron that fills part of the box at most one corner lies beyond it.
    if outer > 1:
        corners[4 * t] = wp.int64(-1)


@wp.kernel
def slot_kernel(
    # In:
    first: wp.int32,
    numbers: wp.array(dtype=wp.int64),  # [V] of places, sorted
    tets: wp.array(dtype=wp.int32),  # [T 4]
    links: wp.array(dtype=wp.int64),  # [7] differences of numbers along the links
    # Out:
    slots: wp.array(dtype=wp.int32),  # [T 6] 7 times the lower end and which link leads to the upper one
):
    t = first + wp.tid()
    slot = wp.int32(0)
    for i in range(3):
        for j in range(i + 1, 4):
            a = tets[4 * t + i]
            b = tets[4 * t + j]
            lower = wp.min(a, b)
            step = numbers[wp.max(a, b)] - numbers[lower]
            link = wp.int32(0)
            for k in range(7):
                if links[k] == step:
                    link = k
            slots[6 * t + slot] = 7 * lower + link
            slot += 1


@wp.kernel
def side_kernel(
    # In:
    first: wp.int32,
    sdf: wp.array(dtype=wp.float32),  # [V]
    held: wp.array(dtype=wp.float32),  # [V] 1, 0 or -1
    # Out:
    inside: wp.array(dtype=wp.uint8),  # [V] 0 or 1
):
    v = first + wp.tid()
    found = wp.uint8(0)
    if held[v] > 0.0 or (held[v] == 0.0 and sdf[v] > 0.0):
        found = wp.uint8(1)
    inside[v] = found


@wp.kernel
def crossed_kernel(
    # In:
    first: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    edges: wp.array(dtype=wp.vec2i),  # [E]
    # Out:
    crossed: wp.array(dtype=wp.int32),  # [E] 0 or 1
):
    e = first + wp.tid()
    edge = edges[e]
    crossed[e] = wp.where(inside[edge[0]] != inside[edge[1]], 1, 0)


@wp.func
def code_of(inside: wp.array(dtype=wp.uint8), tet: wp.vec4i) -> wp.int32:
    code = wp.int32(0)
    for i in range(4):
        code += wp.int32(inside[tet[i]]) << i
    return code


@wp.kernel
def faces_kernel(
    # In:
    first: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    tets: wp.array(dtype=wp.vec4i),  # [T]
    # Out:
    counts: wp.array(dtype=wp.int32),  # [T] triangles of each: 0, 1 or 2
):
    t = first + wp.tid()
    code = code_of(inside, tets[t])
    bits = (code & 1) + ((code >> 1) & 1) + ((code >> 2) & 1) + ((code >> 3) & 1)
    counts[t] = wp.where(bits == 2, 2, bits & 1)


@wp.kernel
def list_edges_kernel(
    # In:
    first: wp.int32,
    ends: wp.array(dtype=wp.int32),  # [E] crossed edges up to and with each
    capacity: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    edges: wp.array(dtype=wp.vec2i),  # [E]
    # Out:
    crossings: wp.array(dtype=wp.vec2i),  # [capacity] inner and outer end
):
    e = first + wp.tid()
    before = wp.int32(0)
    if e > 0:
        before = ends[e - 1]
    if ends[e] > before and before < capacity:
        edge = edges[e]
        if inside[edge[0]] == wp.uint8(0):
            edge = wp.vec2i(edge[1], edge[0])
        crossings[before] = edge


@wp.kernel
def list_faces_kernel(
    # In:
    first: wp.int32,
    vertex_ends: wp.array(dtype=wp.int32),  # [E] crossed edges up to and with each
    face_ends: wp.array(dtype=wp.int32),  # [T] triangles up to and with each tetrahedron's
    vertex_capacity: wp.int32,
    face_capacity: wp.int32,
    inside: wp.array(dtype=wp.uint8),  # [V]
    tets: wp.array(dtype=wp.vec4i),  # [T]
    tet_edges: wp.array(dtype=wp.int32),  # [T 6]
    table: wp.array(dtype=wp.int32),  # [16 6]
    # Out:
    faces: wp.array(dtype=wp.vec3i),  # [face_capacity]
):
    t = first + wp.tid()
    before = wp.int32(0)
    if t > 0:
        before = face_ends[t - 1]
    count = face_ends[t] - before
    if count > 0:
        code = code_of(inside, tets[t])
        for k in range(count):
            if before + k < face_capacity:
                face = wp.vec3i()
                fits = wp.int32(1)
                for i in range(3):
                    edge = tet_edges[6 * t + table[6 * code + 3 * k + i]]
                    face[i] = vertex_ends[edge] - 1
                    if face[i] >= vertex_capacity:
                        fits = 0
                if fits == 1:
                    faces[before + k] = face


@wp.func
def kept_side(sdf: wp.float32, held: wp.float32, least: wp.float32) -> wp.float32:
    """Held vertices stay on their side."""
    if held > 0.0:
        return wp.max(sdf, least)
    if held < 0.0:
        return wp.min(sdf, -least)
    return sdf


@wp.kernel
def cross_kernel(
    # In:
    first: wp.int32,
    crossings: wp.array(dtype=wp.vec2i),  # [N]
    sdf: wp.array(dtype=wp.float32),  # [V]
    held: wp.array(dtype=wp.float32),  # [V]
    least: wp.float32,
    positions: wp.array(dtype=wp.vec3),  # [V]
    # Out:
    vertices: wp.array(dtype=wp.vec3),  # [N]
):
    n = first + wp.tid()
    edge = crossings[n]
    if edge[0] == edge[1]:
        vertices[n] = wp.vec3()
        return
    a = kept_side(sdf[edge[0]], held[edge[0]], least)
    b = kept_side(sdf[edge[1]], held[edge[1]], least)
    t = a / (a - b)
    p = positions[edge[0]]
    vertices[n] = p + t * (positions[edge[1]] - p)


@wp.kernel
def cross_gradient_kernel(
    # In:
    first: wp.int32,
    starts: wp.array(dtype=wp.int32),  # [V + 1]
    incident: wp.array(dtype=wp.int32),  # [2 E]
    ends: wp.array(dtype=wp.int32),  # [E] crossed edges up to and with each
    crossings: wp.array(dtype=wp.vec2i),  # [N]
    capacity: wp.int32,  # N
    sdf: wp.array(dtype=wp.float32),  # [V]
    held: wp.array(dtype=wp.float32),  # [V]
    least: wp.float32,
    positions: wp.array(dtype=wp.vec3),  # [V]
    dvertices: wp.array(dtype=wp.vec3),  # [N]
    # Out:
    dsdf: wp.array(dtype=wp.float32),  # [V]
    dpositions: wp.array(dtype=wp.vec3),  # [V]
):
    """Each lattice vertex gathers from its edges: nothing is shared while it is written, the order always the same."""
    v = first + wp.tid()
    slope = wp.float32(0.0)
    push = wp.vec3()
    for k in range(starts[v], starts[v + 1]):
        e = incident[k]
        n = ends[e] - 1
        before = wp.int32(0)
        if e > 0:
            before = ends[e - 1]
        if n >= before and n < capacity:
            edge = crossings[n]
            a = kept_side(sdf[edge[0]], held[edge[0]], least)
            b = kept_side(sdf[edge[1]], held[edge[1]], least)
            t = a / (a - b)
            g = dvertices[n]
            along = wp.dot(g, positions[edge[1]] - positions[edge[0]]) / (a - b)
            if v == edge[0]:
                push += (1.0 - t) * g
                slope += along * (1.0 - t)
            else:
                push += t * g
                slope += along * t
    # What is kept on its side by force does not move with its value.
    if kept_side(sdf[v], held[v], least) != sdf[v]:
        slope = 0.0
    dsdf[v] = slope
    dpositions[v] = push
