"""The least-squares problem of the texture, on small textures whose solution is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from meshwright.errors import Cancelled
from meshwright.texture.conjugate import conjugate_gradients
from meshwright.texture.solve import Pixels, neighbours, solve_texture
from meshwright.texture.texels import Texels
from meshwright.types import Array, SilentMonitor

SIDE = 12
COUNT = SIDE * SIDE


@pytest.fixture
def texels() -> Texels:
    """A texture whose every texel matters."""
    every = np.arange(COUNT, dtype=np.int32)
    return Texels(
        size=SIDE,
        index=every,
        inside=np.ones(COUNT, bool),
        graph_face=np.zeros(COUNT, np.int32),
        graph_bary=np.zeros((COUNT, 3), np.float32),
        nearest=every,
        spacing=1.0,
    )


def looks(numbers: Array, colour: Array) -> Pixels:
    """A view that sees some texels one by one."""
    ones = np.ones(len(numbers), np.float32)
    matrix = sparse.csr_array((ones, (np.arange(len(numbers)), numbers)), shape=(len(numbers), COUNT))
    return Pixels(matrix=matrix.tocsr(), colour=np.asarray(colour, np.float32))


def solved(texels: Texels, start: Array, views: list[Pixels], **options: float) -> Array:
    chosen = {"stiff": 0.0, "hold": 1e-4, "doubt": np.inf} | options
    return solve_texture(start, texels, views, monitor=SilentMonitor(), **chosen)


def test_agreeing_views_are_repeated(texels: Texels) -> None:
    truth = np.random.default_rng(0).uniform(0.1, 0.9, (COUNT, 3)).astype(np.float32)
    views = [looks(np.arange(COUNT), truth), looks(np.arange(0, COUNT, 2), truth[::2])]
    found = solved(texels, np.full((COUNT, 3), 0.5, np.float32), views)
    np.testing.assert_allclose(found, truth, atol=1e-3)


def test_means_of_texels_are_taken_apart(texels: Texels) -> None:
    """Pixels that see overlapping pairs of texels: the texels are found again, not their means."""
    truth = np.random.default_rng(1).uniform(0.2, 0.8, (COUNT, 3)).astype(np.float32)
    first = np.arange(COUNT - 1)
    rows = np.repeat(first, 2)
    columns = np.stack([first, first + 1], -1).ravel()
    share = np.tile([0.7, 0.3], COUNT - 1).astype(np.float32)
    matrix = sparse.csr_array((share, (rows, columns)), shape=(COUNT - 1, COUNT)).tocsr()
    blurred = (matrix @ truth).astype(np.float32)
    start = np.concatenate([blurred, blurred[-1:]])
    found = solved(texels, start, [Pixels(matrix=matrix, colour=blurred)], hold=1e-6)
    assert np.abs(matrix @ found - blurred).max() < 0.02
    assert np.abs(found - truth)[:-2].mean() < 0.5 * np.abs(start - truth)[:-2].mean()


def test_contradiction_gives_the_mean_and_doubt_the_majority(texels: Texels) -> None:
    every = np.arange(COUNT)
    views = [looks(every, np.full((COUNT, 3), value)) for value in (0.2, 0.2, 0.8)]
    start = np.full((COUNT, 3), 0.2, np.float32)
    assert solved(texels, start, views) == pytest.approx(0.4, abs=1e-3)
    assert solved(texels, start, views, doubt=0.1).max() < 0.23


def test_what_nobody_sees_stays(texels: Texels) -> None:
    start = np.random.default_rng(2).uniform(0, 1, (COUNT, 3)).astype(np.float32)
    seen = np.arange(10)
    found = solved(texels, start, [looks(seen, np.zeros((10, 3)))])
    np.testing.assert_array_equal(found[10:], start[10:])
    assert found[:10].max() < 0.01


def test_changes_spread_to_neighbours_and_fade(texels: Texels) -> None:
    """One bright pixel on grey: stiffness carries its change on, ever less, and never beyond it."""
    middle = 5 * SIDE + 5
    found = solved(
        texels, np.full((COUNT, 3), 0.5, np.float32), [looks(np.array([middle]), [[0.9] * 3])], stiff=0.3, hold=0.01
    )
    line = found.reshape(SIDE, SIDE, 3)[5, 5:, 0]
    assert (np.diff(line[:5]) < 0).all()
    assert 0.499 < line[-1] < line[4] < line[0] < 0.9


def test_no_view_no_change(texels: Texels) -> None:
    start = np.random.default_rng(3).uniform(0, 1, (COUNT, 3)).astype(np.float32)
    empty = looks(np.zeros(0, int), np.zeros((0, 3)))
    np.testing.assert_array_equal(solved(texels, start, [empty], doubt=0.3, stiff=0.3), start)


def test_cores_change_nothing(texels: Texels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each adds up texels of its own, and all of what is said of one."""
    random = np.random.default_rng(2)
    views = [looks(random.integers(0, COUNT, 90), random.uniform(0, 1, (90, 3))) for _ in range(3)]
    start = random.uniform(0.2, 0.8, (COUNT, 3)).astype(np.float32)
    found = []
    for cores in (1, 5, 64):
        monkeypatch.setattr("meshwright.texture.solve.cpu_threads", lambda cores=cores: cores)
        found.append(solved(texels, start, views, stiff=0.3, hold=0.01, doubt=0.3))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_neighbours_lie_side_by_side(texels: Texels) -> None:
    difference = neighbours(texels)
    assert difference.shape == (2 * SIDE * (SIDE - 1), COUNT)
    row, column = np.divmod(np.arange(COUNT), SIDE)
    np.testing.assert_array_equal(np.sort(difference @ (row * 100.0 + column)), [1.0] * 132 + [100.0] * 132)


def test_conjugate_gradients_find_the_solution() -> None:
    random = np.random.default_rng(4)
    half = random.normal(size=(8, 8))
    matrix = (half @ half.T + 2 * np.eye(8)).astype(np.float32)
    truth = random.normal(size=(8, 3)).astype(np.float32)
    found = conjugate_gradients(lambda x: matrix @ x, matrix @ truth, np.diag(matrix).copy(), steps=12, enough=1e-2)
    np.testing.assert_allclose(found, truth, atol=0.01 * np.linalg.norm(truth))


def test_stopping(texels: Texels) -> None:
    start = np.zeros((COUNT, 3), np.float32)
    with pytest.raises(Cancelled):
        solve_texture(
            start,
            texels,
            [looks(np.arange(4), np.ones((4, 3)))],
            stiff=0.1,
            hold=0.1,
            doubt=0.3,
            monitor=SilentMonitor(should_stop=lambda: True),
        )
