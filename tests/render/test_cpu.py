import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch

from fixtures.hands import open_hands
from fixtures.meshes import camera, pixel_positions, soup, spheres
from s2hand.geometry.camera import clip_positions
from s2hand.geometry.rotation import axis_angle_to_matrix
from s2hand.hand.mano import ManoHead
from s2hand.render.cpu import CpuRasterizer, _chunks, _mesh

SIDE = 32


def scene(count=3):
    positions, faces = spheres(SIDE, count)
    attributes = torch.rand(
        count, positions.shape[1], 4, generator=torch.Generator().manual_seed(0)
    )
    return positions.float(), attributes, faces


def gradients(draw, positions, attributes, faces):
    inputs = positions.clone().requires_grad_(), attributes.clone().requires_grad_()
    image = draw(*inputs, faces, SIDE, SIDE)
    return (image.detach(), *torch.autograd.grad(image.square().sum(), inputs))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_same_bits_for_any_number_of_threads(threads):
    inputs = scene()
    one = gradients(CpuRasterizer(1), *inputs)
    for mine, expected in zip(gradients(CpuRasterizer(threads), *inputs), one, strict=True):
        assert torch.equal(mine, expected)


def test_threads_default_to_torchs(monkeypatch):
    counts = []
    monkeypatch.setattr("s2hand.render.cpu._chunks", lambda n, k: counts.append(k) or [slice(n)])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    CpuRasterizer()(*scene(), SIDE, SIDE)
    CpuRasterizer(3)(*scene(), SIDE, SIDE)
    assert counts == [5, 3]


@pytest.mark.parametrize(("count", "threads"), [(0, 2), (1, 4), (5, 2), (32, 3), (4, 4)])
def test_chunks_cover_all_images_evenly(count, threads):
    chunks = _chunks(count, threads)
    lengths = [part.stop - part.start for part in chunks]
    assert [i for part in chunks for i in range(count)[part]] == list(range(count))
    assert len(chunks) == min(count, threads)
    assert not lengths or max(lengths) - min(lengths) <= 1


def test_without_gradient_the_image_is_the_same():
    positions, attributes, faces = scene()
    draw = CpuRasterizer(2)
    plain = draw(positions, attributes, faces, SIDE, SIDE)
    with torch.no_grad():
        unwanted = draw(positions.clone().requires_grad_(), attributes, faces, SIDE, SIDE)
    wanted = draw(positions.clone().requires_grad_(), attributes, faces, SIDE, SIDE)
    assert not plain.requires_grad
    assert not unwanted.requires_grad
    assert wanted.requires_grad
    assert torch.equal(plain, wanted)
    assert torch.equal(plain, unwanted)


def test_without_gradient_nothing_is_kept_per_image(monkeypatch):
    # ids and depth: one per image to go back, else one per thread.
    import s2hand.render.cpu as module

    kept = []
    real = module.kernels.draw
    monkeypatch.setattr(
        module.kernels, "draw", lambda *args: kept.append(len(args[3])) or real(*args)
    )
    positions, attributes, faces = scene(4)
    CpuRasterizer(1)(positions, attributes, faces, SIDE, SIDE)
    CpuRasterizer(1)(positions.clone().requires_grad_(), attributes, faces, SIDE, SIDE)
    assert kept == [1, 4]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("coordinate", range(4))
def test_broken_vertices_hide_their_faces_only(value, coordinate):
    positions, attributes, faces = scene(1)
    draw = CpuRasterizer()
    v = positions[0, :, 2].argmin()  # on the front of the nearer sphere
    positions[0, v, coordinate] = value
    image, grad_positions, grad_attributes = gradients(draw, positions, attributes, faces)
    assert image.isfinite().all()
    assert image.any()
    assert grad_positions.isfinite().all()
    assert grad_attributes.isfinite().all()
    assert (grad_positions[0, v] == 0).all()
    kept = faces[(faces != v).all(1)]
    rest = positions.nan_to_num(0, 0, 0)
    assert torch.equal(image, draw(rest, attributes, kept, SIDE, SIDE))


def test_all_vertices_broken_give_an_empty_image():
    positions, attributes, faces = scene(1)
    results = gradients(CpuRasterizer(), positions * torch.nan, attributes, faces)
    assert all((result == 0).all() for result in results)


def test_meshes_behind_the_camera_are_not_seen():
    positions, attributes, faces = scene(1)
    results = gradients(CpuRasterizer(), -positions, attributes, faces)
    assert all((result == 0).all() for result in results)


def test_faces_seen_from_the_edge_have_bounded_gradients():
    # Nearly collinear, but snapping opens it to cover pixel centres: the interior gradient divides
    # by the face's true area twice.
    y, tiny = 8.03125, 1e-9
    corners = [[2.0, y - tiny, 0], [30.0, y - tiny, 0], [16.0, y + tiny, 0]]
    positions = pixel_positions(torch.tensor(corners, dtype=torch.float64), SIDE)[None]
    attributes = torch.rand(1, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    faces = torch.tensor([[0, 1, 2]])
    image, grad, _ = gradients(CpuRasterizer(), positions, attributes, faces)
    assert (image[0, 8] > 0).any()
    assert grad.isfinite().all()
    assert 0 < grad.abs().max() < 1e10
    unbounded = gradients(CpuRasterizer(area_floor=0), positions, attributes, faces)[1]
    assert unbounded.abs().max() > 1e12


def test_every_silhouette_of_a_crowded_image_gets_its_gradient():
    # 256 small triangles: nearly every pixel takes part in antialiasing, in more pairs than pixels.
    u, v = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    corner = torch.stack([2 * u, 2 * v, 0 * u], -1).reshape(-1, 1, 3)
    shape = torch.tensor([[-0.4, -0.3, 0], [0.45, -0.2, 0], [0.1, 0.6, 0]])
    positions = pixel_positions((corner + shape).reshape(1, -1, 3).double(), SIDE)
    faces = torch.arange(3 * 256).reshape(-1, 3)
    ones = torch.ones(1, 3 * 256, 1, dtype=torch.float64)
    _, grad, _ = gradients(CpuRasterizer(), positions, ones, faces)
    per_face = grad[0].reshape(256, 3, 4)
    inner = per_face.reshape(16, 16, 3, 4)[1:-1, 1:-1]
    assert (inner[..., :2].abs().amax((-1, -2)) > 0).all()
    # The same triangle at every place: the same gradient.
    expected = inner[:1, :1, :, :2].expand_as(inner[..., :2])
    torch.testing.assert_close(inner[..., :2], expected, rtol=1e-4, atol=1e-4)


def test_recovers_a_pose_from_its_silhouette():
    side, steps = 128, 120
    layer, draw = ManoHead("open"), CpuRasterizer()
    points = open_hands(1, seed=2)[0].vertices[0, 0]
    points = points - points.mean(0)
    K, ones = camera(side)[None], torch.ones(1, 778, 1)

    def silhouette(turn, place):
        moved = points @ axis_angle_to_matrix(turn).T + place
        return draw(clip_positions(moved[None], K, side, side), ones, layer.faces, side, side)

    def iou(a, b):
        a, b = a > 0.5, b > 0.5
        return ((a & b).sum() / (a | b).sum()).item()

    target = silhouette(torch.zeros(3), torch.tensor([0, 0, 0.25]))
    turn = torch.tensor([0.1, -0.1, 0.15], requires_grad=True)
    place = torch.tensor([0.01, -0.008, 0.265], requires_grad=True)
    assert iou(silhouette(turn, place), target) < 0.67
    optimizer = torch.optim.Adam([{"params": [turn], "lr": 0.01}, {"params": [place], "lr": 0.002}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (silhouette(turn, place) - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    assert iou(silhouette(turn, place), target) > 0.99


def _render_in_child(queue):
    torch.set_num_threads(1)  # as DataLoader workers do: torch's OpenMP hangs after a fork
    with torch.no_grad():
        queue.put(CpuRasterizer(2)(*scene(), SIDE, SIDE).numpy())


def test_forked_workers_render_after_their_parent_has():
    expected = CpuRasterizer(2)(*scene(), SIDE, SIDE).numpy()  # starts the parent's thread pool
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_render_in_child, args=(queue,))
    child.start()
    try:
        np.testing.assert_array_equal(queue.get(timeout=60), expected)
        child.join(timeout=60)
        assert child.exitcode == 0
    finally:
        child.kill()


def test_compiled_kernels_go_where_numba_is_told(tmp_path):
    # Only the placing is asked for: a full compilation takes seconds.
    code = "from s2hand.render.kernels import draw; print(draw._cache.cache_path)"
    result = subprocess.run(
        [sys.executable, "-c", code], env={"NUMBA_CACHE_DIR": str(tmp_path), "PATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.startswith(str(tmp_path))


def test_types_follow_the_attributes():
    positions, attributes, faces = scene(1)
    draw = CpuRasterizer()
    kinds = {torch.float64: torch.float64, torch.float16: torch.float32}
    for kind, result in {torch.float32: torch.float32, **kinds}.items():
        image, *grads = gradients(draw, positions, attributes.to(kind), faces)
        assert image.dtype == result
        assert [grad.dtype for grad in grads] == [positions.dtype, kind]
    int32 = draw(positions, attributes, faces.int(), SIDE, SIDE)
    assert torch.equal(int32, draw(positions, attributes, faces, SIDE, SIDE))


def test_images_need_not_be_square_nor_in_memory_order():
    positions, faces = soup(20, seed=0)
    attributes = torch.rand(1, 60, 3).double()
    draw = CpuRasterizer()
    image = draw(positions, attributes, faces, 17, 29)
    assert image.shape == (1, 17, 29, 3)
    strided = positions.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(image, draw(strided, attributes, faces, 17, 29))


def test_an_empty_batch_is_an_empty_image():
    assert CpuRasterizer()(*(x[:0] for x in scene()[:2]), scene()[2], 8, 9).shape == (0, 8, 9, 4)


def test_topology_of_a_strip_and_of_a_shared_edge():
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    assert _mesh(faces.tobytes(), faces.dtype.str, 4).opposite.tolist() == [
        [3, -1, -1],
        [-1, -1, 0],
    ]
    book = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])  # three pages on one edge
    assert (_mesh(book.tobytes(), book.dtype.str, 5).opposite == -1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(1, 5, 3)}, r"positions \(1, 5, 3\)"),
        ({"attributes": torch.zeros(1, 5, 3)}, r"attributes \(1, 5, 3\)"),
        ({"faces": torch.zeros(4, 3)}, r"faces \(4, 3\) torch.float32"),
        ({"faces": torch.zeros(4, 2).long()}, r"faces \(4, 2\)"),
        ({"faces": torch.full((1, 3), 10**6)}, "1000000"),
        ({"faces": torch.full((1, 3), -1)}, "-1"),
        ({"height": 0}, "0 x 32"),
        ({"attributes": torch.zeros(1, 84, 2, device="meta")}, "attributes on meta"),
    ],
)
def test_errors_name_the_value(change, message):
    positions, attributes, faces = scene(1)
    arguments = {"positions": positions, "attributes": attributes, "faces": faces}
    with pytest.raises(ValueError, match=message):
        CpuRasterizer()(**{**arguments, "height": SIDE, "width": SIDE, **change})


def test_no_threads_is_an_error():
    with pytest.raises(ValueError, match="threads=0"):
        CpuRasterizer(0)
