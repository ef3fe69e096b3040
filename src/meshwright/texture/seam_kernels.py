"""Warp kernels that let the vertices of the surface graph agree about which view paints them.

Letters: G vertices, L directed links between neighbours, K candidate views per vertex.
Links are sorted by the vertex they point at. Messages are min-sum: what it costs the rest of the graph, as far as it
has been heard of, to have a vertex painted by each of its candidates.
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})

__all__ = ["belief_kernel", "message_kernel", "toll_kernel"]


@wp.kernel
def belief_kernel(
    # In:
    own: wp.array2d[wp.float32],  # [G, K]
    begin: wp.array[wp.int32],  # [G + 1] first link that points at each vertex
    message: wp.array2d[wp.float32],  # [L, K]
    # Out:
    belief: wp.array2d[wp.float32],  # [G, K]
):
    """Own cost plus all that was heard."""
    i, k = wp.tid()
    total = own[i, k]
    for link in range(begin[i], begin[i + 1]):
        total += message[link, k]
    belief[i, k] = total


@wp.kernel
def toll_kernel(
    # In:
    source: wp.array[wp.int32],  # [L]
    target: wp.array[wp.int32],  # [L]
    view: wp.array2d[wp.int32],  # [G, K] candidates
    colour: wp.array2d[wp.vec3],  # [G, K] what each candidate shows, sRGB
    change: wp.float32,  # cost of any change of view between neighbours
    contrast: wp.float32,  # cost of a change where the two views differ by 1
    # Out:
    toll: wp.array3d[wp.float32],  # [L, K, K]
):
    """What it costs to paint the source by candidate a and the target by candidate k."""
    link = wp.tid()
    s = source[link]
    t = target[link]
    count = view.shape[1]
    for k in range(count):
        for a in range(count):
            cost = wp.float32(0.0)
            if view[s, a] != view[t, k]:
                # How differently the two views paint the place where the change would be.
                gap = wp.float32(0.0)
                for b in range(count):
                    if view[s, b] == view[t, k]:
                        gap = wp.max(gap, wp.length(colour[s, a] - colour[s, b]))
                    if view[t, b] == view[s, a]:
                        gap = wp.max(gap, wp.length(colour[t, k] - colour[t, b]))
                cost = change + contrast * gap
            toll[link, k, a] = cost


@wp.kernel
def message_kernel(
    # In:
    source: wp.array[wp.int32],  # [L]
    reverse: wp.array[wp.int32],  # [L] the link the other way
    toll: wp.array3d[wp.float32],  # [L, K, K]
    belief: wp.array2d[wp.float32],  # [G, K]
    message: wp.array2d[wp.float32],  # [L, K]
    keep: wp.float32,  # share of the old message, so that loops do not swing
    # Out:
    message_out: wp.array2d[wp.float32],  # [L, K]
):
    """Tell the target what each of its candidates would cost the source."""
    link = wp.tid()
    s = source[link]
    back = reverse[link]
    count = belief.shape[1]
    least = float(1.0e30)
    for k in range(count):
        best = float(1.0e30)
        for a in range(count):
            best = wp.min(best, belief[s, a] - message[back, a] + toll[link, k, a])
        message_out[link, k] = best
        least = wp.min(least, best)
    for k in range(count):
        message_out[link, k] = keep * message[link, k] + (1.0 - keep) * (message_out[link, k] - least)
