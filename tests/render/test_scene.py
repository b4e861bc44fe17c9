import warnings
from dataclasses import replace

import pytest
import torch

from fixtures.hands import open_hands
from s2hand.geometry.camera import project
from s2hand.hand.mano import ManoHead
from s2hand.render import scene
from s2hand.render.scene import HandRenderer
from s2hand.types import Camera, Hand, HandCode

FACES = ManoHead("open").faces


def marker(centre: torch.Tensor, colour=(1.0, 0.5, 0.25), half=0.01) -> tuple[Hand, torch.Tensor]:
    """A square, facing the camera, around a point in camera space, under white ambient light."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half
    light = torch.tensor([1.0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1]).view(1, 1, 11)
    blank = {
        name: torch.zeros(1, 1, 1) for name in ("pose", "shape", "scale", "rotation", "translation")
    }
    code = HandCode(**blank, texture=torch.tensor(colour).expand(1, 1, 4, 3), light=light)
    vertices = (corners + centre).view(1, 1, 4, 3)
    hand = Hand(code, vertices, torch.zeros(1, 1, 21, 3), torch.zeros(1, 1, 16, 4))
    return hand, torch.tensor([[0, 2, 1], [0, 3, 2]])


def centroid(silhouette: torch.Tensor) -> torch.Tensor:
    """(u, v) of the middle of a silhouette [h, w]."""
    rows, columns = torch.meshgrid(
        *(torch.arange(float(n)) for n in silhouette.shape), indexing="ij"
    )
    weights = silhouette / silhouette.sum()
    return torch.stack([(weights * columns).sum(), (weights * rows).sum()])


CAMERAS = {
    "plain": [[200.0, 0, 111.5], [0, 200, 111.5], [0, 0, 1]],
    "rotated crop": [[160.0, -120, 105], [120, 160, 118], [0, 0, 1]],
    "skewed, off centre": [[260.0, 15, 90], [0, 180, 130], [0, 0, 1]],
}


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("resolution", [224, 112, 448])
def test_a_point_is_drawn_where_it_is_projected(name, resolution):
    centre = torch.tensor([0.06, -0.09, 0.5])  # right of and above the middle
    intrinsics = torch.tensor(CAMERAS[name]).view(1, 1, 3, 3)
    hand, faces = marker(centre)
    render = HandRenderer(resolution, "cpu")(hand, Camera(intrinsics, 224), faces)
    expected = project(centre.view(1, 1, 1, 3), intrinsics)[0, 0, 0]
    scale = resolution / 224
    found = (centroid(render.silhouette[0, 0]) + 0.5) / scale - 0.5
    torch.testing.assert_close(found, expected, atol=0.1 / min(scale, 1), rtol=0)


def test_row_0_is_the_top():
    # OpenCV axes: a point with negative y lies in the upper half.
    hand, faces = marker(torch.tensor([0.0, -0.1, 0.5]))
    camera = Camera(torch.tensor(CAMERAS["plain"]).view(1, 1, 3, 3))
    silhouette = HandRenderer(backend="cpu")(hand, camera, faces).silhouette[0, 0]
    assert silhouette[:112].sum() > 10
    assert silhouette[112:].sum() == 0


def test_image_silhouette_and_depth_are_of_one_drawing():
    hand, faces = marker(torch.tensor([0.0, 0.0, 0.5]), half=0.03)
    camera = Camera(torch.tensor(CAMERAS["plain"]).view(1, 1, 3, 3))
    render = HandRenderer(backend="cpu")(hand, camera, faces)
    assert render.image.shape == (1, 1, 3, 224, 224)
    assert render.silhouette.shape == render.depth.shape == (1, 1, 224, 224)
    soft = render.silhouette
    torch.testing.assert_close(render.depth, 0.5 * soft)
    colour = torch.tensor([1.0, 0.5, 0.25]).view(1, 1, 3, 1, 1)
    torch.testing.assert_close(render.image, colour * soft[:, :, None])
    assert set(soft.unique().tolist()) > {0.0, 1.0}  # and something between at the border


def test_windows_are_drawn_frame_by_frame():
    hand, camera = open_hands(6, seed=1)
    renderer = HandRenderer(32, "cpu")
    flat = renderer(hand, camera, FACES)
    window = renderer(
        *(x.map(lambda y: y.reshape(2, 3, *y.shape[2:])) for x in (hand, camera)), FACES
    )
    for name in ("image", "silhouette", "depth"):
        mine = getattr(window, name)
        assert mine.shape[:2] == (2, 3)
        torch.testing.assert_close(mine.flatten(0, 1), getattr(flat, name).flatten(0, 1))


def test_gradients_reach_vertices_texture_and_light():
    hand, camera = open_hands(2)
    leaves = [
        x.detach().clone().requires_grad_()
        for x in (hand.vertices, hand.code.texture, hand.code.light)
    ]
    code = replace(hand.code, texture=leaves[1], light=leaves[2])
    render = HandRenderer(64, "cpu")(replace(hand, code=code, vertices=leaves[0]), camera, FACES)
    (render.image.square().mean() + render.silhouette.mean() + render.depth.mean()).backward()
    for leaf in leaves:
        assert leaf.grad.isfinite().all()
        assert leaf.grad.flatten(1).any(1).all()


def test_a_hand_of_nan_is_drawn_as_nothing():
    hand, camera = open_hands(1)
    vertices = (hand.vertices * torch.nan).requires_grad_()
    render = HandRenderer(32, "cpu")(replace(hand, vertices=vertices), camera, FACES)
    assert (render.image == 0).all()
    assert (render.depth == 0).all()


def test_resolution_can_be_given_per_call():
    hand, camera = open_hands(1)
    assert HandRenderer(64, "cpu")(hand, camera, FACES, resolution=40).image.shape[-2:] == (40, 40)


def test_autocast_does_not_lower_the_precision():
    hand, camera = open_hands(1)
    renderer = HandRenderer(64, "cpu")
    expected = renderer(hand, camera, FACES)
    with torch.autocast("cpu", torch.bfloat16):
        render = renderer(hand, camera, FACES)
    assert torch.equal(render.image, expected.image)


@pytest.mark.parametrize(
    ("kind", "drawn"), [(torch.float16, torch.float32), (torch.float64, torch.float64)]
)
def test_the_image_has_the_type_of_the_vertices_but_float32_at_least(kind, drawn):
    hand, camera = open_hands(1)
    render = HandRenderer(32, "cpu")(replace(hand, vertices=hand.vertices.to(kind)), camera, FACES)
    assert render.image.dtype == render.silhouette.dtype == render.depth.dtype == drawn


def test_the_renderer_has_no_state():
    assert not HandRenderer().state_dict()
    assert not list(HandRenderer().parameters())


def test_auto_is_the_cpu_for_cpu_tensors(monkeypatch):
    monkeypatch.setattr(scene, "unavailable", lambda: pytest.fail("not asked for on the CPU"))
    hand, camera = open_hands(1)
    expected = HandRenderer(32, "cpu")(hand, camera, FACES)
    assert torch.equal(HandRenderer(32)(hand, camera, FACES).image, expected.image)


def test_auto_on_cuda_takes_nvdiffrast_where_it_works(monkeypatch):
    monkeypatch.setattr(scene, "unavailable", lambda: None)
    assert HandRenderer()._choose(torch.device("cuda")) == "nvdiffrast"
    assert HandRenderer(backend="cpu")._choose(torch.device("cuda")) == "cpu"


def test_auto_on_cuda_without_nvdiffrast_warns_once_and_draws_on_the_cpu(monkeypatch):
    monkeypatch.setattr(scene, "unavailable", lambda: "no compiled extension")
    scene._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = [HandRenderer()._choose(torch.device("cuda", i)) for i in (0, 0, 1)]
    assert chosen == ["cpu"] * 3
    (warning,) = caught
    assert "no compiled extension" in str(warning.message)
    assert "docs/gpu.md" in str(warning.message)


def test_nvdiffrast_by_name_must_work(monkeypatch):
    renderer = HandRenderer(32, "nvdiffrast")
    with pytest.raises(ValueError, match="cpu"):
        renderer(*open_hands(1), FACES)
    monkeypatch.setattr(scene, "unavailable", lambda: "no compiled extension")
    with pytest.raises(RuntimeError, match=r"no compiled extension.*docs/gpu\.md"):
        renderer._choose(torch.device("cuda"))


@pytest.mark.parametrize(
    ("arguments", "message"), [({"backend": "opengl"}, "opengl"), ({"resolution": 0}, "0")]
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HandRenderer(**arguments)
