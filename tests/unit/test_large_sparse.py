"""Sparse tensors and what is done on them, against dense torch and plain loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from meshwright.errors import OptionError, ShapeError
from meshwright.models.reconviagen.large.sparse import attention, convolution
from meshwright.models.reconviagen.large.sparse.attention import attend_windows, attend_within
from meshwright.models.reconviagen.large.sparse.convolution import SparseConv3d, convolve, convolve_subdivided
from meshwright.models.reconviagen.large.sparse.keys import NEIGHBOURS, keys_of, neighbours
from meshwright.models.reconviagen.large.sparse.norm import SparseGroupNorm
from meshwright.models.reconviagen.large.sparse.pooling import pool, subdivide, unpool
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

SIDE = 6


def some(channels: int = 5, batch: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> SparseTensor:
    """About a third of a small grid, a batch element at a time, rows within it in any order."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(SIDE)
    coords = []
    for number in range(batch):
        cells = torch.cartesian_prod(axis, axis, axis)
        cells = cells[torch.randperm(len(cells), generator=generator)[: SIDE**3 // 3]]
        coords.append(torch.cat([torch.full((len(cells), 1), number), cells], 1))
    rows = torch.cat(coords)
    return SparseTensor(torch.randn(len(rows), channels, generator=generator, dtype=dtype), rows)


def dense(x: SparseTensor, side: int = SIDE) -> Tensor:
    """[B, C, X, Y, Z], zero where there is no voxel."""
    grid = torch.zeros(x.batch, side, side, side, x.channels, dtype=x.dtype)
    grid[tuple(x.coords.long().unbind(1))] = x.feats
    return grid.permute(0, 4, 1, 2, 3)


def picked(grid: Tensor, x: SparseTensor) -> Tensor:
    return grid.permute(0, 2, 3, 4, 1)[tuple(x.coords.long().unbind(1))]


def random_layer(inputs: int, outputs: int) -> SparseConv3d:
    torch.manual_seed(5)
    return SparseConv3d(inputs, outputs, 3)


# --- tensors ----------------------------------------------------------------------------------------------------------


def test_spans_are_the_rows_of_each_element() -> None:
    coords = torch.zeros(5, 4, dtype=torch.int64)
    coords[:, 0] = torch.tensor([0, 0, 2, 2, 2])
    x = SparseTensor(torch.arange(5.0)[:, None], coords)
    assert x.spans == ((0, 2), (2, 2), (2, 5))
    assert x.coords.dtype == torch.int32
    assert torch.equal(x.rows(torch.tensor([[1.0], [7.0], [3.0]])), torch.tensor([[1.0], [1], [3], [3], [3]]))
    assert SparseTensor(torch.zeros(0, 3), torch.zeros(0, 4, dtype=torch.int32)).spans == ()


def test_what_coordinates_tell_is_found_once() -> None:
    x = some()
    table = neighbours(x)
    assert neighbours(x.replace(x.feats * 2)) is table
    assert neighbours(x.to(dtype=torch.float64)) is table
    first, second = pool(x), pool(x.replace(x.feats + 1))
    assert first.cache is second.cache
    assert neighbours(first) is neighbours(second)


def test_bad_tensors_are_refused() -> None:
    with pytest.raises(ShapeError, match="no sparse tensor"):
        SparseTensor(torch.zeros(3, 2), torch.zeros(4, 4, dtype=torch.int32))
    with pytest.raises(ShapeError, match=r"torch\.float32"):
        SparseTensor(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ShapeError, match="mixed up"):
        _ = SparseTensor(torch.zeros(2, 2), torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]])).spans
    with pytest.raises(ShapeError, match="3 rows for 2"):
        some().rows(torch.zeros(3, 1))


# --- neighbours and convolution ---------------------------------------------------------------------------------------


def test_neighbours_are_those_of_a_search_by_hand() -> None:
    x = some()
    rows = {tuple(voxel): number for number, voxel in enumerate(x.coords.tolist())}
    for number, (b, *place) in enumerate(x.coords.tolist()):
        for column, step in enumerate(NEIGHBOURS):
            wanted = (b, *(p + s for p, s in zip(place, step, strict=True)))
            assert neighbours(x)[number, column] == rows.get(wanted, len(x))


def test_keys_sort_as_coordinates_do() -> None:
    coords = some().coords
    order = keys_of(coords).argsort()
    assert coords[order].tolist() == sorted(coords.tolist())


def test_neighbours_of_children_need_no_search() -> None:
    """Twice subdivided, so that a table made of a table is used too."""
    twice = subdivide(subdivide(some()))
    searched = SparseTensor(twice.feats, twice.coords)
    assert torch.equal(neighbours(twice), neighbours(searched))


@pytest.mark.parametrize("piece", [1, 5000, 2**30])
def test_convolution_is_the_dense_one(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "CPU_PIECE", piece)
    x, layer = some(dtype=torch.float64), random_layer(5, 3).double()
    kernel = layer.conv.weight.permute(0, 4, 1, 2, 3)
    expected = functional.conv3d(dense(x), kernel, layer.conv.bias, padding=1)
    torch.testing.assert_close(layer(x).feats, picked(expected, x))


@pytest.mark.parametrize("piece", [1, 5000, 2**30])
def test_convolution_of_children_is_that_of_copies(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "CPU_PIECE", piece)
    x, layer = some(dtype=torch.float64), random_layer(5, 3)
    weight, bias = layer.conv.weight.double(), layer.conv.bias.double()
    found = convolve_subdivided(x, subdivide(x, copy=False), weight, bias)
    expected = convolve(subdivide(x), weight, bias)
    assert torch.equal(found.coords, expected.coords)
    # Sums of weights are rounded to float32.
    torch.testing.assert_close(found.feats, expected.feats, rtol=0, atol=1e-5)


def test_convolution_can_be_learned_through() -> None:
    x = some(channels=2, batch=1, dtype=torch.float64)
    x = SparseTensor(x.feats[:12], x.coords[:12])
    layer = SparseConv3d(2, 2, 3).double()
    inputs = (x.feats.requires_grad_(), layer.conv.weight, layer.conv.bias)
    assert torch.autograd.gradcheck(lambda f, w, b: convolve(x.replace(f), w, b).feats, inputs)
    single = SparseConv3d(2, 3, 1).double()
    assert torch.autograd.gradcheck(lambda f: single(x.replace(f)).feats, (x.feats,))


def test_only_known_kernels() -> None:
    with pytest.raises(OptionError, match="kernel_size=5"):
        SparseConv3d(2, 2, 5)


# --- pooling ----------------------------------------------------------------------------------------------------------


def test_pool_is_the_sum_over_one_more_than_there_are() -> None:
    x = some(dtype=torch.float64)
    coarse = pool(x)
    assert coarse.coords.tolist() == sorted(coarse.coords.tolist())
    for voxel, feats in zip(coarse.coords, coarse.feats, strict=True):
        mine = (x.coords[:, 0] == voxel[0]) & (x.coords[:, 1:] // 2 == voxel[1:]).all(1)
        torch.testing.assert_close(feats, x.feats[mine].sum(0) / (mine.sum() + 1), rtol=1e-6, atol=1e-6)


def test_unpool_goes_back_to_the_rows_in_their_order() -> None:
    x = some()
    coarse = pool(x)
    back = unpool(coarse.replace(coarse.coords.float()), x)
    assert torch.equal(back.feats[:, 1:], (x.coords[:, 1:] // 2).float())
    assert torch.equal(back.coords, x.coords)
    with pytest.raises(ShapeError, match="coarse voxels"):
        unpool(x, x)


def test_children_lie_together_in_order() -> None:
    x = some()
    fine = subdivide(x)
    assert fine.spans == tuple((8 * a, 8 * b) for a, b in x.spans)
    families = fine.coords.reshape(len(x), 8, 4)
    assert torch.equal(families[:, :, 1:] // 2, x.coords[:, None, 1:].expand(-1, 8, -1))
    assert (families[:, :, 1:] % 2)[0].tolist() == [[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    assert torch.equal(fine.feats.reshape(len(x), 8, -1), x.feats[:, None].expand(-1, 8, -1))
    assert subdivide(x, copy=False).feats.shape == (8 * len(x), 0)


# --- norm and attention -----------------------------------------------------------------------------------------------


def test_group_norm_is_the_dense_one_of_each_element() -> None:
    x = some(channels=6)
    norm = SparseGroupNorm(3, 6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = [
        functional.group_norm(x.feats[a:b].t()[None], 3, norm.weight, norm.bias, 1e-5)[0].t() for a, b in x.spans
    ]
    torch.testing.assert_close(norm(x).feats, torch.cat(expected), rtol=1e-5, atol=1e-5)
    assert norm(x.to(dtype=torch.float16)).dtype == torch.float16


def test_group_norm_of_half_precision_does_not_overflow() -> None:
    x = some(channels=6)
    far = x.replace((x.feats * 100 + 5000).half())
    expected = SparseGroupNorm(3, 6)(x.replace(far.feats.float()))
    torch.testing.assert_close(SparseGroupNorm(3, 6)(far).feats.float(), expected.feats, rtol=1e-3, atol=2e-3)


def by_hand(q: Tensor, k: Tensor, v: Tensor, together: Tensor) -> Tensor:
    """Attention with a mask [N, N] that says who hears whom."""
    heads = (part.transpose(0, 1) for part in (q, k, v))
    return functional.scaled_dot_product_attention(*heads, attn_mask=together).transpose(0, 1)


@pytest.mark.parametrize(("window", "shift"), [(2, 0), (2, 1), (3, 0), (4, 2), (16, 0)])
@pytest.mark.parametrize("group", [8, 2**15])
def test_windows_are_a_mask(window: int, shift: int, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "GROUP_TOKENS", group)
    x = some(batch=3)
    q, k, v = torch.randn(3, len(x), 2, 4, generator=torch.Generator().manual_seed(1)).unbind(0)
    place = torch.cat([x.coords[:, :1], (x.coords[:, 1:] + shift) // window], 1)
    expected = by_hand(q, k, v, (place[:, None] == place).all(2))
    torch.testing.assert_close(attend_windows(x, q, k, v, window, shift), expected, rtol=1e-5, atol=1e-5)


def test_windows_of_one_size_need_no_mask() -> None:
    x = subdivide(some())
    q = torch.randn(len(x), 2, 4)
    attend_windows(x, q, q, q, 2, 0)
    windows = x.cache["windows", 2, 0]
    assert [mask is None for mask in windows.masks] == [True]
    assert sorted(windows.rows[0].flatten().tolist()) == list(range(len(x)))


def test_elements_attend_to_themselves() -> None:
    x = some(batch=3)
    q, k, v = torch.randn(3, len(x), 2, 4, generator=torch.Generator().manual_seed(1)).unbind(0)
    element = x.coords[:, 0]
    expected = by_hand(q, k, v, element[:, None] == element)
    torch.testing.assert_close(attend_within(q, k, v, x.spans), expected, rtol=1e-5, atol=1e-5)


def test_nothing_at_all() -> None:
    x = SparseTensor(torch.zeros(0, 6), torch.zeros(0, 4, dtype=torch.int32))
    q = torch.zeros(0, 2, 3)
    assert pool(x).feats.shape == subdivide(x).feats.shape == SparseGroupNorm(3, 6)(x).feats.shape == (0, 6)
    assert random_layer(6, 4)(x).feats.shape == (0, 4)
    assert attend_windows(x, q, q, q, 8, 4).shape == attend_within(q, q, q, x.spans).shape == q.shape
    assert unpool(pool(x), x).feats.shape == (0, 6)
