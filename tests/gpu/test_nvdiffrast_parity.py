"""Both backends draw the same: ids, colours and gradients; needs CUDA and nvdiffrast."""

import pytest
import torch

from fixtures.hands import open_hands
from fixtures.meshes import look, soup, spheres
from s2hand.geometry.camera import clip_positions
from s2hand.hand.mano import ManoHead
from s2hand.render.cpu import CpuRasterizer
from s2hand.render.nvdiffrast import NvdiffrastRasterizer, unavailable
from s2hand.render.scene import HandRenderer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(unavailable() is not None, reason=f"parity not checked: {unavailable()}"),
]

SIDE = 224


def hands():
    hand, camera = open_hands(4)
    positions = clip_positions(hand.vertices[:, 0], camera.intrinsics[:, 0], SIDE, SIDE)
    return positions, ManoHead("open").faces


MESHES = {"hands": hands, "spheres": lambda: spheres(SIDE), "soup": lambda: soup(100, seed=1)}


@pytest.fixture(params=MESHES)
def mesh(request):
    positions, faces = MESHES[request.param]()
    return positions.float(), faces


def test_faces_seen_are_the_same(mesh):
    import nvdiffrast.torch as dr

    positions, faces = mesh
    raster, _ = dr.rasterize(
        dr.RasterizeCudaContext(), positions.cuda(), faces.int().cuda(), resolution=[SIDE, SIDE]
    )
    raster = raster.cpu()
    ids, depth = look(positions, faces, SIDE, SIDE)
    differ = (raster[..., 3].long() != ids) & (ids > 0)
    near = (raster[..., 2] - depth).abs() < 1e-4
    assert (differ & ~near).float().mean() < 1e-3  # float32 snaps a vertex in a thousand elsewhere
    assert ((raster[..., 3] > 0) != (ids > 0)).float().mean() < 1e-3


def test_colours_and_gradients_are_the_same(mesh):
    positions, faces = mesh
    generator = torch.Generator().manual_seed(0)
    attributes = torch.rand(*positions.shape[:2], 5, generator=generator)
    weights = torch.rand(len(positions), SIDE, SIDE, 5, generator=generator)
    results = []
    for draw, device in ((CpuRasterizer(), "cpu"), (NvdiffrastRasterizer(), "cuda")):
        inputs = [x.to(device).requires_grad_() for x in (positions.clone(), attributes.clone())]
        image = draw(*inputs, faces.to(device), SIDE, SIDE)
        grads = torch.autograd.grad((image * weights.to(device)).sum(), inputs)
        results.append([x.detach().cpu() for x in (image, *grads)])
    (image, *grads), (their_image, *their_grads) = results
    assert ((image - their_image).abs().amax(-1) > 1e-3).float().mean() < 2e-3
    for mine, theirs in zip(grads, their_grads, strict=True):
        assert torch.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0) > 0.99
        assert 0.98 < mine.norm() / theirs.norm() < 1.02


def test_the_hand_renderer_gives_the_same_on_both():
    hand, camera = open_hands(2)
    faces = ManoHead("open").faces
    on_cpu = HandRenderer(backend="cpu")(hand, camera, faces)
    on_gpu = HandRenderer()(hand.to("cuda"), camera.to("cuda"), faces.cuda())
    through = HandRenderer(backend="cpu")(hand.to("cuda"), camera.to("cuda"), faces.cuda())
    for name in ("image", "silhouette", "depth"):
        expected = getattr(on_cpu, name)
        assert getattr(on_gpu, name).is_cuda
        differs = (getattr(on_gpu, name).cpu() - expected).abs() > 1e-3
        assert differs.float().mean() < 2e-3
        torch.testing.assert_close(getattr(through, name).cpu(), expected, atol=1e-4, rtol=0)
