"""What the `mini` checkpoint is trained on: objects, renders, faults, the measure; and one step of training."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import average, compare, eyes, fields, objects, scenes, train, validation, words
from training.disturb import Faults, shown
from training.kinds import KINDS
from training.losses import _missed
from training.measure import f_score
from training.without import CHANNELS, FAULTS, TERMS, Blinded, chosen_faults

from meshwright.models.reconviagen import lifting
from meshwright.models.reconviagen.lifting import HALF
from meshwright.models.reconviagen.network import NetConfig
from meshwright.models.reconviagen.weights import Checkpoint
from meshwright.synth import list_objects
from meshwright.synth.field_kernel import SolidData
from meshwright.synth.objects import get_object
from meshwright.synth.paint_kernel import PaintData
from meshwright.synth.solids import Paint, SynthObject, ball, box

STILL = Faults(
    missing=0, calibration=0, masks=0, depth=2, depth_offset=0, depth_scale=0, grey=0, exposure=0
)  # a chance of 2: half of the objects' depth is fitted inexactly, by nothing


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scenes, lifting):
        monkeypatch.setattr(module, "MASK_SIZE", 64)
        monkeypatch.setattr(module, "PICTURE_SIZE", 32)


def ball_and_box() -> scenes.Scenes:
    paint = Paint(colours=("#808080",))
    item = SynthObject(
        name="x", summary="", solids=(ball((0, 0, 0), 0.3, paint), box((0, 0.5, 0), (0.1, 0.4, 0.1), paint))
    )
    return scenes.render(objects.pack([item]), grid=32, device="cpu")


@pytest.mark.parametrize(
    ("layout", "struct"),
    [
        (objects.SOLID, SolidData),
        (objects.PAINT, PaintData),
        (objects.BODY, fields.BodyData),
        (objects.LIGHT, fields.LightData),
        (eyes.EYE, fields.EyeData),
    ],
)
def test_layouts_are_those_of_the_kernels(layout: np.dtype, struct: object) -> None:
    theirs = np.dtype(struct.numpy_dtype())  # type: ignore[attr-defined]
    assert layout.names == theirs.names
    assert [layout.fields[name] for name in layout.names or ()] == [theirs.fields[name] for name in theirs.names or ()]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_makes_objects(kind: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        solids = KINDS[kind][0](words.Words(rng))
        rows, paints = objects._rows(solids, rng)
        assert np.isfinite(rows["at"]).all()
        assert (rows["bound_radius"] > 0).all()
        assert rows["paint"].max() < len(paints)
        assert (rows["join"] == 0).any()


def test_the_same_seed_draws_the_same_objects() -> None:
    one, two = (next(objects.stream((7,), 5, 1)) for _ in range(2))
    assert one.kinds == two.kinds
    assert one.solids.tobytes() == two.solids.tobytes()
    assert one.eyes.tobytes() == two.eyes.tobytes()
    assert next(objects.stream((7,), 5, 2)).solids.tobytes() != one.solids.tobytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_have_numbers_whoever_draws_them(workers: int) -> None:
    expected = [batch.solids.tobytes() for batch in itertools.islice(objects.stream((7, 0), 2, 3), 5)]
    drawn = itertools.islice(objects.loader((7, 0), 2, workers, 3), 5)
    assert [batch.solids.tobytes() for batch in drawn] == expected


def test_training_never_sees_the_catalogue() -> None:
    names = {str(getattr(item, "name", item)) for item in list_objects()}
    assert not names & set(KINDS)


def test_objects_fill_the_unit_cube_and_pictures_show_them() -> None:
    made = ball_and_box()
    inside = (made.field[0] < 0).nonzero().float()
    cell = 2 * HALF / 32
    extent = (inside.amax(0) - inside.amin(0) + 1) * cell
    assert extent.max().item() == pytest.approx(1.0, abs=2 * cell)
    middle = (inside.amax(0) + inside.amin(0) + 1) / 2 * cell - HALF
    assert middle.abs().max().item() < 1.5 * cell
    front = made.depth[0, 0]
    # The ball's front: the whole is 1.2 own units high, the ball 0.6, so its radius is 0.25 of the cube's 1.
    assert front[front > 0].min().item() == pytest.approx(2.5 - 0.25, abs=0.01)
    facing = made.normal[0, 0, 2][made.cover[0, 0] > 0.99]
    assert facing.min().item() > 0
    assert facing.max().item() == pytest.approx(1.0, abs=0.01)


def test_without_faults_views_are_shown_as_they_are() -> None:
    made = ball_and_box()
    seen = shown(made, STILL, torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen.mask, made.mask)
    torch.testing.assert_close(seen.lens, made.lens)
    torch.testing.assert_close(seen.rotation, made.rotation)
    assert bool((seen.present == 1).all())
    known = seen.picture[0, 0, 5] > 0
    torch.testing.assert_close(2.5 - seen.picture[0, 0, 4][known], made.depth[0, 0][known])


def test_faults_leave_at_least_two_views() -> None:
    made = ball_and_box()
    many = scenes.Scenes(
        **{name: getattr(made, name).expand(64, *getattr(made, name).shape[1:]) for name in made.__dataclass_fields__}
    )
    seen = shown(many, replace(Faults(), missing=1.0), torch.Generator().manual_seed(0))
    assert seen.present.sum(1).min() >= 2
    assert seen.present.sum(1).max() <= 6
    assert bool((seen.mask.amax((2, 3)) <= seen.present).all())


def test_the_measure_is_one_for_the_truth_and_falls_with_distance() -> None:
    line = (torch.arange(64) + 0.5) / 64 * 1.2 - 0.6
    x, y, z = torch.meshgrid(line, line, line, indexing="ij")
    away = (x * x + y * y + z * z).sqrt()
    assert f_score(away - 0.4, away - 0.4, HALF) == 1.0
    assert f_score(away - 0.405, away - 0.4, HALF) > 0.95
    assert f_score(away - 0.43, away - 0.4, HALF) == 0.0
    assert f_score(away + 1, away - 0.4, HALF) == 0.0


def test_what_is_missed_is_counted_at_both_surfaces() -> None:
    # Two cells at the true surface and two at the guessed one; 0.25 FINE_LIMITs are 0.01.
    truth = torch.tensor([0.1, 0.1, 1.0, -1.0, 1.0])
    assert _missed(truth, truth).item() == 0.0
    guess = torch.tensor([0.35, 0.1, 0.0, -1.0, 1.0])
    assert _missed(guess, truth).item() == pytest.approx((0.5 + 0.0 + 0.8) / (3 + 1))


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> list[dict[str, object]]:
    """The learning curve of a training of the smallest kind."""
    monkeypatch.setattr(train, "prepare_validation", lambda *_, **__: {"": [ball_and_box()]})
    given = f"train --out {folder} --device cpu --batch 1 --grid 32 --widths 8,8:8:16,8 --workers 0 --check 1e9".split()
    monkeypatch.setattr(sys, "argv", [*given, *more])
    train.main()
    log: list[dict[str, object]] = json.loads((folder / "mini.json").read_text())["log"]
    return log


@pytest.mark.slow
def test_a_training_in_pieces_is_the_same_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("safetensors")
    from meshwright.models.reconviagen.weights import load_checkpoint

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    log = trained(whole, monkeypatch, "--steps", "4")
    assert [row["steps"] for row in log] == [0, 4]
    assert {"six", "six+depth", "four", "three"} <= set(log[-1])
    trained(parts, monkeypatch, "--steps", "4", "--piece-steps", "1")
    log = trained(parts, monkeypatch, "--steps", "4", "--resume")
    assert [row["steps"] for row in log] == [0, 1, 4]
    one, other = (torch.load(folder / "state.pt", weights_only=True) for folder in (whole, parts))
    for name, value in one["net"].items():
        torch.testing.assert_close(other["net"][name], value, rtol=0, atol=0)
    found = load_checkpoint(parts / "mini.safetensors", "cpu")
    assert found.about["objects"] == "4"
    for name, value in found.prior.state_dict().items():
        # Half precision: 11 bits.
        torch.testing.assert_close(value, one["mean"][name], rtol=2**-11, atol=1e-7)


@pytest.mark.slow
def test_anything_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = trained(tmp_path, monkeypatch, "--steps", "1", "--without", ",".join(CHANNELS + FAULTS + TERMS))
    # The channel `depth` is no term's name.
    assert {"fine", "coarse", "depth", "normal"} <= set(log[-1])
    assert "score" not in log[-1]


def test_shares_of_objects_can_be_chosen() -> None:
    assert chosen_faults(("masks",), {"missing": 0.25}) == replace(Faults(), missing=0.25, masks=0.0)
    with pytest.raises(ValueError, match=r"scale=0.1, depth=2"):
        chosen_faults((), {"scale": 0.1, "depth": 2})


@pytest.mark.slow
def test_trainings_beside_each_other_differ_by_what_they_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--batch", "1", "--grid", "32", "--widths", "8,8:8:16,8", "--workers", "0", "--steps", "1")
    call = ["compare", "--out", str(tmp_path), "--device", "cpu", "--names", "all,exposure,score", *small]
    monkeypatch.setattr(sys, "argv", call)
    before = {}

    def learn(one: compare.Learner, *rest: object) -> None:
        before.setdefault(one.name, [p.detach().clone() for p in one.state.net.parameters()])
        original(one, *rest)  # type: ignore[arg-type]

    original = compare.learn
    monkeypatch.setattr(compare, "learn", learn)
    monkeypatch.setattr(compare, "prepare_validation", lambda *_, **__: {"": [ball_and_box()]})
    compare.main()
    for name in ("exposure", "score"):
        for p, q in zip(before["all"], before[name], strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=0)
    rows = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert [(row["name"], row["steps"]) for row in rows] == [("all", 1), ("exposure", 1), ("score", 1)]


def test_outlines_cut_what_is_believed_even_where_the_start_is_left_out() -> None:
    made = ball_and_box()
    scores = []
    for without in ((), ("start",)):
        net = Blinded(NetConfig(view=8, coarse=(8, 16), fine=8), grid=32, without=without)
        torch.nn.init.constant_(net.fine.out.bias, -2.0)  # everything is believed to be solid
        scores.append(validation.validate(net, {"": [made]}, without)["six"])
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert scores[0] > 0.2


def test_time_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(tmp_path, monkeypatch, "--seconds", "0.001")[-1]["steps"] == train.TURN


def test_validation_has_kinds_of_its_own_and_fresh_objects() -> None:
    found = validation.prepare_validation("cpu", 32, known=1, fresh=1)
    assert {name: len(made) for name, made in found.items()} == {"": 1, "fresh": 1}


def test_the_catalogue_can_be_packed() -> None:
    packed = objects.pack([get_object("mug")])
    assert packed.kinds == ("mug",)
    assert np.allclose(packed.eyes["eye"][0, 0], (0, 0, 2.5))


def test_the_mean_of_checkpoints_lies_between_them() -> None:
    def filled(value: float) -> Checkpoint:
        prior = lifting.Prior(NetConfig(view=8, coarse=(8, 16), fine=8), grid=32)
        for p in prior.parameters():
            torch.nn.init.constant_(p, value)
        return Checkpoint(prior=prior, family="mini", about={"seed": str(value)})

    made = average.mean_of([filled(1.0), filled(2.0), filled(6.0)])
    assert made.about["seed"] == "6.0"
    assert all(bool((p == 3).all()) for p in made.prior.parameters())
    wide = Checkpoint(prior=lifting.Prior(NetConfig(view=16, coarse=(8, 16), fine=8), grid=32), family="mini", about={})
    with pytest.raises(ValueError, match="different widths"):
        average.mean_of([filled(1.0), wide])
