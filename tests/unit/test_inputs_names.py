from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.inputs.faults import Faults
from meshwright.inputs.names import match_names, natural_key, read_name
from meshwright.types import VIEW_NAMES


@pytest.mark.parametrize(
    ("name", "views", "is_depth", "number"),
    [
        ("front.png", ("front",), False, None),
        ("Front.PNG", ("front",), False, None),
        ("FRONT.png", ("front",), False, None),
        ("view_00.png", (), False, 0),
        ("view-5.png", (), False, 5),
        ("00.png", (), False, 0),
        ("03_top.png", ("top",), False, 3),
        ("left_depth.png", ("left",), True, None),
        ("depth_back.png", ("back",), True, None),
        ("depth.back.png", ("back",), True, None),
        ("RightDepth.png", ("right",), True, None),
        ("depthbottom.png", ("bottom",), True, None),
        ("frontview.png", ("front",), False, None),
        ("side-left-view2.png", ("left",), False, 2),
        ("rear view.png", ("back",), False, None),
        ("shoe_top_0001.png", ("top",), False, 1),
        ("folder/left.png", ("left",), False, None),
        ("left/IMG_2.png", (), False, 2),
        ("front_left.png", ("front", "left"), False, None),
        ("front_front.png", ("front",), False, None),
        ("backpack.png", (), False, None),
        ("laptop.png", (), False, None),
        ("desktop_front.png", ("front",), False, None),
        ("background.png", (), False, None),
        ("bright.png", (), False, None),
        ("indepth.png", (), False, None),
        ("décor_top.png", ("top",), False, None),
        ("上.png", (), False, None),
        (".png", (), False, None),
    ],
)
def test_read_name(name: str, views: tuple[str, ...], is_depth: bool, number: int | None) -> None:
    reading = read_name(name)
    assert (reading.views, reading.is_depth, reading.number) == (views, is_depth, number)


def matched(names: list[str]) -> tuple[dict[str, str], bool]:
    faults = Faults()
    result = match_names(names, "view", "folder", faults)
    assert faults.found == []
    return result


@pytest.mark.parametrize("pattern", ["{}.png", "{}_depth.png", "shoe-{}-v2.PNG", "{}View.png", "top_hat_{}.png"])
def test_names_win_over_order(pattern: str) -> None:
    for order in itertools.islice(itertools.permutations(VIEW_NAMES), 0, 720, 101):
        result, by_name = matched([pattern.format(view) for view in order])
        assert by_name
        assert result == {view: pattern.format(view) for view in VIEW_NAMES}


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_say_the_order(first: int) -> None:
    names = [f"view_{index + first:02d}.png" for index in range(6)]
    result, by_name = matched(names[::-1])
    assert not by_name
    assert list(result.values()) == names


def test_upload_order_is_the_last_resort() -> None:
    names = ["zebra.png", "apple.png", "IMG_9.png", "b.png", "c.png", "7.png"]
    result, by_name = matched(names)
    assert not by_name
    assert list(result.values()) == names


def test_every_fault_of_a_set_is_named_at_once() -> None:
    faults = Faults()
    result, _ = match_names(["front.png", "1_front.png", "left_right.png", "x.png", "top.png"], "view", "set", faults)
    assert result == {}
    assert [(fault.file, fault.code) for fault in faults.found] == [
        ("left_right.png", "input.ambiguous_name"),
        ("1_front.png", "input.duplicate_view"),
        ("x.png", "input.unknown_view"),
        ("set", "input.count"),
    ]


def test_natural_order() -> None:
    assert sorted(["view_10.png", "view_2.png", "View_1.png", "a.png"], key=natural_key) == [
        "a.png",
        "View_1.png",
        "view_2.png",
        "view_10.png",
    ]


@given(st.text(max_size=40))
def test_any_text_can_be_read_and_sorted(name: str) -> None:
    reading = read_name(name)
    assert set(reading.views) <= set(VIEW_NAMES)
    assert sorted([name, "view_2.png", ""], key=natural_key)


@given(st.lists(st.text(min_size=1, max_size=12), max_size=8, unique=True))
def test_matching_gives_six_or_faults(names: list[str]) -> None:
    faults = Faults()
    result, _ = match_names(names, "view", "set", faults)
    if result:
        assert faults.found == []
        assert set(result) == set(VIEW_NAMES)
        assert sorted(result.values()) == sorted(names)
    else:
        assert faults.found


def chosen(names: list[str], wanted: tuple[str, ...], *, some: bool = False) -> tuple[dict[str, str], list[str]]:
    faults = Faults()
    result, _ = match_names(names, "view", "set", faults, wanted=wanted, some=some)
    return result, [fault.message for fault in faults.found]


def test_some_of_the_views_may_be_meant() -> None:
    """Files of other views are left aside; what is not there is named."""
    three = ("left", "top", "front")
    named = {"front": "front.png", "left": "left.png", "top": "top.png"}
    assert chosen(["top.png", "front.png", "left.png"], three) == (named, [])
    assert chosen([f"{view}.png" for view in VIEW_NAMES], three) == (named, [])
    assert chosen(["top.png", "front.png", "back.png"], three) == (
        {},
        ["expected 3 views (left, top, front), found 2; missing: left"],
    )
    _, messages = chosen(["top.png", "front.png", "lfet.png"], three)
    assert messages == ["the name does not say which view it is, while other names do; there is none for left"]
    assert chosen(["top.png", "back.png"], three, some=True) == ({"top": "top.png"}, [])
    assert chosen(["back.png"], three, some=True) == ({}, [])


def test_files_without_names_are_taken_in_the_order_in_which_views_are_named() -> None:
    three = ("left", "top", "front")
    assert chosen(["a.png", "b.png", "c.png"], three)[0] == {"front": "c.png", "left": "a.png", "top": "b.png"}
    assert chosen(["2.png", "0.png", "1.png"], three)[0] == {"front": "2.png", "left": "0.png", "top": "1.png"}
    six = [f"view_{index}.png" for index in range(6)]
    assert chosen(six, three)[0] == {"front": "view_0.png", "left": "view_2.png", "top": "view_4.png"}
    assert chosen(six[:4], three) == ({}, ["expected 3 views (left, top, front), found 4"])


@given(st.lists(st.text(min_size=1, max_size=12), max_size=8, unique=True), st.permutations(VIEW_NAMES), st.booleans())
def test_matching_gives_what_is_wanted_or_faults(names: list[str], order: list[str], some: bool) -> None:
    wanted = tuple(order[: 2 + len(names) % 5])
    result, messages = chosen(names, wanted, some=some)
    if messages:
        assert result == {}
    elif not some:
        assert list(result) == [view for view in VIEW_NAMES if view in wanted]
    assert set(result) <= set(wanted)
    assert set(result.values()) <= set(names)
