"""What threads of a GPU do together: 16 bytes at a time, small tiles of pixels, sums among those with the same goal.

On a CPU all of this falls back to what one thread does alone.
"""

# mypy: ignore-errors

from __future__ import annotations

from meshwright._warp import wp

BUSY = {"launch_bounds": (256, 4)}
"""Of most kernels so many blocks of threads have to fit on a GPU's multiprocessor: what waits for memory needs others
beside it. Measured on an H200, as are the exceptions."""

TILE_WIDE = 8
TILE_HIGH = 4
"""Pixels of a tile, one for each of the 32 threads of a CUDA warp: most of them see the same few triangles."""


Numbers = wp.types.vector(length=12, dtype=wp.float64)
Names = wp.types.vector(length=7, dtype=wp.int32)


@wp.struct
class Place:
    """Where a thread works: pixels of one row of one view."""

    first: wp.int32  # over all views
    stop: wp.int32  # one past the last
    view: wp.int32
    row: wp.int32
    column: wp.int32  # of the first


@wp.func
def place_of(
    thread: wp.int32,
    first: wp.int32,
    last: wp.int32,
    span: wp.int32,
    height: wp.int32,
    width: wp.int32,
) -> Place:
    """`span` pixels in a row on a CPU; on a GPU (0) one of a tile, or none beyond the frame."""
    place = Place()
    if span > 0:
        place.first = first + thread * span
        place.stop = wp.min(place.first + span, last)
        line = place.first // width
        place.column = place.first - line * width
        place.view = line // height
        place.row = line - place.view * height
        return place
    tile = wp.uint32(thread >> 5)
    across = wp.uint32((width + 7) >> 3)
    up = wp.uint32((height + 3) >> 2)
    line_of_tiles = tile // across
    view = line_of_tiles // up
    place.view = wp.int32(view)
    place.column = (wp.int32(tile - line_of_tiles * across) << 3) + (thread & 7)
    place.row = (wp.int32(line_of_tiles - view * up) << 2) + ((thread >> 3) & 3)
    place.first = (place.view * height + place.row) * width + place.column
    place.stop = place.first
    if place.column < width and place.row < height:
        place.stop += 1
    return place


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    const float4 v = __ldg(reinterpret_cast<const float4*>(source.data) + index);
    return wp::vec_t<4, wp::float32>(v.x, v.y, v.z, v.w);
#else
    return source.data[index];
#endif
"""
)
def load4(source: wp.array[wp.vec4], index: wp.int32) -> wp.vec4:
    """Read 16 bytes at once, from an array that the kernel does not write and that starts at a multiple of them."""
    ...


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    if (pitch == 4) {
        const float4 v = __ldg(reinterpret_cast<const float4*>(source.data + index));
        return wp::vec_t<4, wp::float32>(v.x, v.y, v.z, v.w);
    }
#endif
    wp::vec_t<4, wp::float32> v;
    #pragma unroll
    for (int k = 0; k < 4; ++k)
        if (k < count) v[k] = source.data[index + k];
    return v;
"""
)
def load_some(source: wp.array[wp.float32], index: wp.int32, count: wp.int32, pitch: wp.int32) -> wp.vec4:
    """Up to four numbers, at once where there are four places for each texel; those beyond `count` are of no use."""
    ...


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    reinterpret_cast<float4*>(target.data)[index] = make_float4(value[0], value[1], value[2], value[3]);
#else
    target.data[index] = value;
#endif
"""
)
def store4(target: wp.array[wp.vec4], index: wp.int32, value: wp.vec4):
    """Write 16 bytes at once, to an array that starts at a multiple of them."""
    ...


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    const unsigned mask = __activemask();
    const unsigned lane = threadIdx.x & 31u;
    unsigned same = __match_any_sync(mask, key);
    if (second >= 0) same &= __match_any_sync(mask, second);
    if (key < 0) same = 1u << lane;
    int rank = __popc(same & ((1u << lane) - 1u));
    int code = key >= 0 && rank == 0 ? 1 << 30 : 0;
    unsigned above = same & (0xfffffffeu << lane);
    int rounds = 0;
    while (__any_sync(mask, above != 0u)) {
        const int next = __ffs(above);
        code |= (next ? 31 + next : lane) << (6 * rounds);
        above &= ~__ballot_sync(mask, rank & 1);
        rank >>= 1;
        ++rounds;
    }
    return wp::vec_t<3, wp::int32>((int)mask, code, rounds);
#else
    return wp::vec_t<3, wp::int32>(0, key >= 0 ? 1 : 0, 0);
#endif
"""
)
def peers(key: wp.int32, second: wp.int32) -> wp.vec3i:
    """Which threads of a CUDA warp, of those that are here, have the same two keys, and how they add up in pairs.

    A negative first key takes part in nothing; a negative second one, in all threads, is not compared. On a background,
    in a large triangle or where a texture is magnified, thousands of threads would otherwise queue for one place in
    memory. The result holds the threads that are here; for each of five rounds the thread to take from, and 32 if there
    is one; 2**30 in the first thread of each group; and how many rounds are needed.
    """
    ...


@wp.func_native(
    """
    float v[4] = {value[0], value[1], value[2], value[3]};
#if defined(__CUDA_ARCH__)
    for (int r = 0; r < group[2]; ++r) {
        const int step = group[1] >> (6 * r);
        #pragma unroll
        for (int k = 0; k < 4; ++k)
            if (k < count) {
                const float other = __shfl_sync((unsigned)group[0], v[k], step & 31);
                if (step & 32) v[k] += other;
            }
    }
    if (group[1] >> 30) {
        float* to = total.data + index;
#if __CUDA_ARCH__ >= 900
        if (wide == 4) {
            asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                         "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]) : "memory");
        } else if (wide == 2) {
            asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)),
                         "f"(v[0]), "f"(v[1]) : "memory");
        } else
#endif
        {
            #pragma unroll
            for (int k = 0; k < 4; ++k)
                if (k < count) atomicAdd(to + k, v[k]);
        }
    }
#else
    if (group[1])
        for (int k = 0; k < count; ++k) total.data[index + k] += v[k];
#endif
"""
)
def add_group(
    total: wp.array[wp.float32], index: wp.int32, value: wp.vec4, count: wp.int32, wide: wp.int32, group: wp.vec3i
):
    """Add up to four numbers to as many places in a row, all threads of a group (see `peers`) to the same ones.

    Those threads have to come here together. `wide` is 4 or 2 where `index` is a multiple of it and so many places may
    be written at once (those beyond `count` get what `value` has there, 0), else 1.
    """
    ...


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    const unsigned mask = __activemask();
    const unsigned lane = threadIdx.x & 31u;
    const int leader = __ffs(mask) - 1;
    int start = 0;
    if ((int)lane == leader) start = atomicAdd(counter.data + index, __popc(mask));
    return __shfl_sync(mask, start, leader) + __popc(mask & ((1u << lane) - 1u));
#else
    return counter.data[index]++;
#endif
"""
)
def next_place(counter: wp.array[wp.int32], index: wp.int32) -> wp.int32:
    """Count one more, and give the count before: a place of its own for each thread."""
    ...


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    const float p = __fmul_rn(x, size);
    return __fmaf_rn(-place, w, p) + __fmaf_rn(x, size, -p);
#else
    return (float)((double)x * (double)size - (double)place * (double)w);
#endif
"""
)
def offset(x: wp.float32, w: wp.float32, size: wp.float32, place: wp.float32) -> wp.float32:
    """x size - place w, as exact as float32 can hold it although both products may be much larger."""
    ...


@wp.func_native(
    """
#if defined(__CUDA_ARCH__)
    return true;
#else
    return false;
#endif
"""
)
def on_gpu() -> wp.bool:
    """Known to the compiler: what is for the other is left out."""
    ...


LEND = """
#if defined(__CUDA_ARCH__)
    __shared__ TYPE kept[COUNT][256];
    if (show) {
        __syncwarp();
        #pragma unroll
        for (int i = 0; i < COUNT; ++i) kept[i][threadIdx.x & 255u] = value[i];
        __syncwarp();
        return value;
    }
    wp::vec_t<COUNT, TYPE> lent;
    #pragma unroll
    for (int i = 0; i < COUNT; ++i) lent[i] = kept[i][(threadIdx.x & 224u) + lane];
    return lent;
#else
    return value;
#endif
"""


@wp.func_native(LEND.replace("COUNT", "12").replace("TYPE", "double"))
def lend_numbers(value: Numbers, lane: wp.int32, show: wp.bool) -> Numbers:
    """What the thread `lane` of a CUDA warp has; before, all of its threads together have to `show` theirs.

    Blocks have no more than 256 threads.
    """
    ...


@wp.func_native(LEND.replace("COUNT", "7").replace("TYPE", "int"))
def lend_names(value: Names, lane: wp.int32, show: wp.bool) -> Names:
    """The same for whole numbers."""
    ...
