"""Light from all around: known integrals, known colours, gradients, and what turning everything must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meshwright.errors import OptionError, ShapeError
from meshwright.rendering import ops
from meshwright.rendering.light import (
    EnvironmentLight,
    bent_normals,
    brdf_scale_bias,
    brdf_table,
    shade_pbr,
)
from meshwright.rendering.light.convolve import convolve
from meshwright.rendering.light.convolve.reference import irradiance_reference, specular_reference
from meshwright.rendering.light.environment import SMOOTHEST, sharpness_levels
from meshwright.rendering.light.lobes import Lobe, ggx_lobe, solid_angles
from meshwright.rendering.ops import CubeLevels
from meshwright.rendering.ops.cubemap.faces import face_directions
from meshwright.rendering.ops.cubemap.reference import cube_texture_reference

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def unit(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sky(direction: np.ndarray) -> np.ndarray:
    """A few coloured lamps before a dim ground: 0.3 to 4."""
    rng = np.random.default_rng(0)
    lamps, colours = unit(6), rng.random((6, 3))
    return 0.3 + (np.exp(12 * (direction @ lamps.T - 1))[..., None] * colours * 4).sum(1)


def tensors(device: str, *arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(array, np.float32)).to(device) for array in arrays]


def seen_from(count: int, device: str, seed: int = 0) -> list[torch.Tensor]:
    """Normals and views that see their front, with cosines of 0.1 and more."""
    normal, view = unit(4 * count, seed), unit(4 * count, seed + 1)
    view *= np.sign((normal * view).sum(1, keepdims=True))
    kept = (normal * view).sum(1) > 0.1
    return tensors(device, normal[kept][:count], view[kept][:count])


def full(count: int, device: str, *values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).expand(count, 3).contiguous()


# --- what reflects how much -----------------------------------------------------------------------------------------


def reflectance(cosine: float, roughness: float, f0: float) -> float:
    """The integral over the hemisphere of light, midpoints in cosine and azimuth: no half vectors are drawn here."""
    alpha = roughness**2
    nl = ((np.arange(800) + 0.5) / 800)[:, None]
    around = ((np.arange(800) + 0.5) * np.pi / 800)[None]
    sine = np.sqrt(1 - nl**2)
    light = np.stack(np.broadcast_arrays(sine * np.cos(around), sine * np.sin(around), nl), -1)
    view = np.array([np.sqrt(1 - cosine**2), 0, cosine])
    half = light + view
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    density = alpha**2 / (np.pi * (half[..., 2] ** 2 * (alpha**2 - 1) + 1) ** 2)
    k = alpha / 2
    shadow = cosine / (cosine * (1 - k) + k) * nl / (nl * (1 - k) + k)
    fresnel = f0 + (1 - f0) * (1 - half @ view) ** 5
    return float((density * shadow * fresnel / (4 * cosine)).mean() * 2 * np.pi)


@pytest.mark.parametrize("roughness", [0.25, 0.5, 0.8, 1.0])
def test_table_is_the_integral(roughness: float) -> None:
    for cosine in (0.15, 0.5, 0.95):
        scale, bias = brdf_scale_bias(*tensors("cpu", np.array([cosine]), np.array([roughness])))
        for f0 in (0.04, 0.9):
            assert abs(float(scale * f0 + bias) - reflectance(cosine, roughness, f0)) < 1e-3


def test_table_keeps_energy() -> None:
    table = brdf_table()
    assert table.min() >= 0 and table.sum(-1).max() < 1 + 1e-12
    assert table[0, -1, 0] > 0.99  # a mirror seen from above reflects all that it can
    assert brdf_table() is table


@pytest.mark.parametrize("device", DEVICES)
def test_table_slopes(device: str) -> None:
    places = np.random.default_rng(0).uniform(0.1, 0.9, (2, 100))
    cosine, roughness = (leaf.requires_grad_() for leaf in tensors(device, *places))
    scale, bias = brdf_scale_bias(cosine, roughness)
    (scale.sum() + bias.sum()).backward()
    for leaf, moved in ((cosine, (1e-3, 0)), (roughness, (0, 1e-3))):
        with torch.no_grad():
            up = sum(brdf_scale_bias(cosine + moved[0], roughness + moved[1]))
            down = sum(brdf_scale_bias(cosine - moved[0], roughness - moved[1]))
        # Some of the steps cross the middle of a cell, where the slope jumps.
        assert ((up - down) / 2e-3 - leaf.grad).abs().median() < 2e-3
    none = torch.zeros(0, device=device)
    assert brdf_scale_bias(none, none)[0].shape == (0,)


# --- what light becomes ---------------------------------------------------------------------------------------------


def test_texels_cover_the_sphere() -> None:
    angles = solid_angles(16)
    assert abs(angles.sum() - 4 * np.pi) < 1e-12
    mean = (face_directions(16) * angles[..., None]).sum((0, 1, 2))
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    second = np.einsum("fyxi,fyxj,fyx->ij", face_directions(64), face_directions(64), solid_angles(64))
    np.testing.assert_allclose(second, np.eye(3) * 4 * np.pi / 3, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_blurring_is_the_sum_over_its_lobe(device: str) -> None:
    levels, lobe = CubeLevels.halving(16), Lobe(0.05, 24, 16)
    values = np.random.default_rng(0).random((levels.texels, 3)).astype(np.float32)
    found = convolve(*tensors(device, values), levels, lobe, 8).cpu().numpy().reshape(-1, 3)
    rays, weights = ggx_lobe(lobe)
    assert abs(weights.sum() - 1) < 1e-12 and (rays[:, 2] > 0).all()
    expected = []
    for normal in face_directions(8).reshape(-1, 3):
        # The same frame as the kernel's: lobes are spread around evenly, but not perfectly.
        way = 1.0 if np.float32(normal[2]) >= 0 else -1.0
        a = -1 / (way + normal[2])
        tangent = np.array([1 + way * normal[0] ** 2 * a, way * normal[0] * normal[1] * a, -way * normal[0]])
        frame = np.stack([tangent, np.cross(normal, tangent), normal])
        expected.append(weights @ cube_texture_reference(values, levels, rays[:, :3] @ frame, rays[:, 3]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_of_blurred_maps_are_the_transpose(device: str) -> None:
    """Maps are linear in the light: <maps(x), y> = <x, gradient of <maps, y>> for any x and y."""
    light = EnvironmentLight.of(sky, 32, device=device)
    maps = light.maps()
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(part.shape, generator=generator).to(device) for part in (maps.specular, maps.diffuse)]
    value = (maps.specular * weights[0]).sum() + (maps.diffuse * weights[1]).sum()
    value.backward()
    back = (light.texels.grad * light.texels.detach()).sum()
    assert abs(float(back - value.detach())) < 1e-4 * abs(float(back)) + 1e-2
    with ops.deterministic():
        a, b = (torch.autograd.grad(light.maps().specular.square().sum(), light.texels)[0] for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [16, 64])
def test_maps_are_the_integrals(size: int, device: str) -> None:
    normal = unit(300, 5)
    maps = EnvironmentLight.of(sky, size, device=device).maps()
    faces = EnvironmentLight.of(sky, 64).texels.detach().numpy()
    (along,) = tensors(device, normal)
    assert np.abs(maps.scattered(along).detach().cpu().numpy() - irradiance_reference(faces, normal)).max() < 0.012
    for roughness in (0.2, 0.3, 0.5, 0.75, 1.0):
        found = maps.mirrored(along, torch.full((300,), roughness, device=device)).detach().cpu().numpy()
        off = found - specular_reference(faces, normal, roughness**2)
        assert np.sqrt((off**2).mean()) < 0.03  # of light that is 0.3 to 4


def test_levels_of_roughness() -> None:
    levels = sharpness_levels(256)
    assert levels[0] == (256, SMOOTHEST) and levels[-1] == (16, 1.0)
    sizes, roughness = zip(*levels, strict=True)
    assert list(sizes) == sorted(sizes, reverse=True)
    np.testing.assert_allclose(np.diff(np.log(roughness)), np.log(1 / SMOOTHEST) / (len(levels) - 1))


@pytest.mark.parametrize("device", DEVICES)
def test_linear_light_on_matt_surfaces(device: str) -> None:
    """Radiance a + b.d becomes a + 2/3 b.n by cosine, as spherical harmonics of degree one do."""
    slope = np.array([[0.3, -0.2, 0.1], [0.0, 0.3, 0.2], [0.1, 0.1, -0.3]])
    light = EnvironmentLight.of(lambda d: 1 + d @ slope, 32, device=device)
    normal = unit(200)
    (along,) = tensors(device, normal)
    found = light.maps().scattered(along).detach().cpu().numpy()
    np.testing.assert_allclose(found, 1 + 2 / 3 * normal @ slope, atol=2e-3)


# --- colours of surfaces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("roughness", [0.08, 0.3, 0.7, 1.0])
def test_furnace(roughness: float, device: str) -> None:
    """Under white light a white matt surface is white whatever it mirrors; nothing gives off more than it gets."""
    normal, view = seen_from(300, device)
    maps = EnvironmentLight(32, value=1.0, device=device).maps()
    white = full(300, device, 1, 1, 1)
    matt = shade_pbr(white, full(300, device, 1, roughness, 0), normal, view, maps)
    torch.testing.assert_close(matt, white, atol=1e-5, rtol=0)
    metal = shade_pbr(white, full(300, device, 1, roughness, 1), normal, view, maps)
    assert metal.max() <= 1 + 1e-5 and metal.min() > 0.3
    both = shade_pbr(white, full(300, device, 1, roughness, 0), normal, view, maps, conserve=False)
    assert (both > matt).all() and both.max() < 2  # the paper's sum
    black = shade_pbr(0 * white, full(300, device, 1, roughness, 0), normal, view, maps)
    assert black.min() > 0 and black.max() < 0.7
    shut = shade_pbr(white, full(300, device, 0, roughness, 0), normal, view, maps)
    assert not shut.any()


@pytest.mark.parametrize("device", DEVICES)
def test_constant_light_gives_base_colour_times_light(device: str) -> None:
    normal, view = seen_from(100, device)
    kd = torch.rand((100, 3), generator=torch.Generator().manual_seed(0)).to(device)
    maps = EnvironmentLight(16, value=2.5, device=device).maps()
    ks = full(100, device, 1, 0.6, 0)
    scale, bias = brdf_scale_bias((normal * view).sum(-1), ks[:, 1])
    mirror = (0.04 * scale + bias)[:, None]
    seen = shade_pbr(kd, ks, normal, view, maps)
    torch.testing.assert_close(seen, 2.5 * (kd * (1 - mirror) + mirror), atol=1e-4, rtol=0)
    plain = shade_pbr(kd, ks, normal, view, maps, conserve=False)
    torch.testing.assert_close(plain, 2.5 * (kd + mirror), atol=1e-4, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_mirror_limit(device: str) -> None:
    """A smooth white metal shows the light itself along the mirrored direction, but for what little the table loses."""
    normal, view = seen_from(200, device)
    light = EnvironmentLight.of(sky, 64, device=device)
    maps = light.maps()
    seen = shade_pbr(full(200, device, 1, 1, 1), full(200, device, 1, SMOOTHEST, 1), normal, view, maps)
    mirrored = 2 * (normal * view).sum(-1, keepdim=True) * normal - view
    expected = ops.cube_texture(light.texels.reshape(-1, 3), CubeLevels((64,)), mirrored)
    # It loses what half vectors below the horizon of view or light would have sent: most at grazing views.
    lost = ((expected - seen) / expected).detach()
    assert lost.min() > -0.001 and lost.median() < 0.02 and lost.max() < 0.08
    truth = sky(mirrored.cpu().numpy().astype(np.float64))
    np.testing.assert_allclose(maps.seen(mirrored).detach().cpu().numpy(), truth, atol=0.02)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("exact", [True, False])
def test_turning_everything_changes_nothing(exact: bool, device: str) -> None:
    """Light, normals and views turned alike: cube symmetries bring texels to texels, other turns need interpolation."""
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    if not exact:
        turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
    normal, view = seen_from(300, device)
    (matrix,) = tensors(device, turn)
    rng = np.random.default_rng(0)
    kd, ks = tensors(device, rng.random((300, 3)), rng.uniform([0.5, 0.1, 0], 1, (300, 3)))
    plain = shade_pbr(kd, ks, normal, view, EnvironmentLight.of(sky, 64, device=device).maps())
    turned_light = EnvironmentLight.of(lambda d: sky(d @ turn), 64, device=device)
    turned = shade_pbr(kd, ks, normal @ matrix.T, view @ matrix.T, turned_light.maps())
    off = (plain - turned).abs()
    assert off.max() < (0.03 if exact else 0.15) and off.square().mean().sqrt() < (0.003 if exact else 0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_shading_slopes(device: str) -> None:
    """Gradients of a weighted sum of colours against finite differences, for each input and the light itself."""
    count = 4000
    normal, view = seen_from(count, device)
    rng = np.random.default_rng(0)
    kd, ks = tensors(device, rng.uniform(0.1, 0.9, (count, 3)), rng.uniform([0.2, 0.15, 0.1], 0.9, (count, 3)))
    light = EnvironmentLight.of(sky, 32, device=device)
    (weight,) = tensors(device, rng.normal(size=(count, 3)))

    def value(*inputs: torch.Tensor) -> torch.Tensor:
        return (shade_pbr(*inputs, light.maps()) * weight).sum()

    leaves = [leaf.clone().requires_grad_() for leaf in (kd, ks, normal, view)]
    value(*leaves).backward()
    for number, leaf in enumerate(leaves):
        (along,) = tensors(device, rng.normal(size=(count, 3)))
        step = 1e-3
        with torch.no_grad():
            up, down = (
                value(*[x + way * step * along if i == number else x for i, x in enumerate(leaves)]).double()
                for way in (1, -1)
            )
        terms = (leaf.grad * along).double()
        # Look-ups are piecewise smooth: a few of the points pass a kink.
        assert abs(float(terms.sum() - (up - down) / (2 * step))) < 2e-3 * float(terms.abs().sum()), number
    assert light.texels.grad.abs().sum() > 0


@pytest.mark.parametrize("device", DEVICES)
def test_light_is_found_from_pictures(device: str) -> None:
    """Fitted to what a half-rough metal ball shows, the light's blurred copies become those of the truth."""
    normal, view = seen_from(3000, device)
    kd, ks = full(3000, device, 0.9, 0.9, 0.9), full(3000, device, 1, 0.4, 1)
    with torch.no_grad():
        truth = EnvironmentLight.of(sky, 16, device=device).maps()
        wanted = shade_pbr(kd, ks, normal, view, truth)
    light = EnvironmentLight(16, device=device)
    optimiser = torch.optim.Adam(light.parameters(), lr=0.1)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (shade_pbr(kd, ks, normal, view, light.maps()) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        light.clamp_()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]
    assert light.texels.min() >= 0


# --- panoramas, normals, faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_panoramas_there_and_back(device: str) -> None:
    light = EnvironmentLight.of(sky, 64, device=device)
    panorama = light.latlong(64)
    assert panorama.shape == (64, 128, 3)
    middle = panorama[32, 64].detach().cpu().numpy()
    np.testing.assert_allclose(middle, sky(np.array([[0.025, -0.025, -1.0]]))[0], rtol=0.05)  # along -Z
    right = panorama[32, 96].detach().cpu().numpy()
    np.testing.assert_allclose(right, sky(np.array([[1.0, -0.025, 0.025]]))[0], rtol=0.05)  # +X
    again = EnvironmentLight.from_latlong(panorama.detach().cpu().numpy(), 64, device=device)
    assert (again.texels - light.texels).detach().square().mean().sqrt() < 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_bent_normals(device: str) -> None:
    normal, tangent = tensors(device, unit(500, 1), unit(500, 2))
    flat = full(500, device, 0, 0, 3)
    for given in (None, tangent):
        torch.testing.assert_close(bent_normals(normal, flat, given), normal, atol=1e-6, rtol=0)
    lean = full(500, device, 1, 0, 1)
    bent = bent_normals(normal, lean, tangent)
    torch.testing.assert_close(bent.norm(dim=1), torch.ones(500, device=device), atol=1e-5, rtol=0)
    torch.testing.assert_close((bent * normal).sum(1), torch.full((500,), 0.5**0.5, device=device), atol=1e-4, rtol=0)
    flat_tangent = tangent - (tangent * normal).sum(1, keepdim=True) * normal
    assert (bent * flat_tangent).sum(1).min() > 0  # towards the tangent
    plain = bent_normals(normal, lean)
    torch.testing.assert_close((plain * normal).sum(1), torch.full((500,), 0.5**0.5, device=device), atol=1e-4, rtol=0)


def test_faults_are_told() -> None:
    with pytest.raises(OptionError, match="A light of 20 texels"):
        EnvironmentLight(20)
    with pytest.raises(ShapeError, match=r"The panorama is \[4, 8\]"):
        EnvironmentLight.from_latlong(np.zeros((4, 8)))
    maps = EnvironmentLight(16).maps()
    three, four = torch.zeros(3, 3), torch.zeros(4, 3)
    with pytest.raises(ShapeError, match=r"normal is \[4, 3\], kd is \[3, 3\]"):
        shade_pbr(three, three, four, three, maps)
