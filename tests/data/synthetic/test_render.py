import numpy as np
import pytest
import torch

from fixtures.hands import regressed_joints
from s2hand.data.synthetic.render import CROP_PX, SceneRenderer, Sensor, over
from s2hand.data.synthetic.scene import Scene, SceneSampler
from s2hand.geometry.camera import project


@pytest.fixture(scope="module")
def scenes(hand):
    sampler = SceneSampler(hand, "train", "wide")
    return Scene.stack([sampler.sample(np.random.default_rng([7, i])) for i in range(12)])


@pytest.fixture(scope="module")
def shots(hand, renderer, scenes):
    return SceneRenderer(hand, renderer, 64).render(scenes)


def pixels(points_px: np.ndarray, side: int) -> np.ndarray:
    return np.floor((points_px + 0.5) * side / CROP_PX).astype(int).clip(0, side - 1)


def test_truth_camera_and_keypoints_agree(shots):
    projected = project(torch.from_numpy(shots.joints), torch.from_numpy(shots.intrinsics))
    np.testing.assert_allclose(shots.joints_px, projected.numpy(), atol=1e-3)
    assert (shots.intrinsics[:, 0, 2] == 111.5).all()
    assert shots.joints[..., 2].min() > 0.05


def test_labels_are_the_hand_models_own(shots):
    # 778 vertices, without the forearm, and the joints of the head's convention.
    assert shots.vertices.shape == (12, 778, 3)
    joints = regressed_joints(torch.from_numpy(shots.vertices)).numpy()
    np.testing.assert_allclose(joints, shots.joints, atol=2e-6)


def test_hands_lie_in_the_crop_at_their_size(shots, scenes):
    middle = (shots.joints_px.max(1) + shots.joints_px.min(1)) / 2
    assert np.abs(middle - 111.5).max() < 45
    assert ((shots.joints_px > 0) & (shots.joints_px < 223)).mean() > 0.98
    size = np.ptp(shots.joints_px, axis=1).max(1)
    assert 60 < size.min() < size.max() < 215


def test_the_picture_shows_the_hand_where_the_truth_is(shots):
    # Vertices in front of everything else: the rendered depth at their pixel is their own.
    projected = project(torch.from_numpy(shots.vertices), torch.from_numpy(shots.intrinsics))
    column, row = np.moveaxis(pixels(projected.numpy(), 64), -1, 0)
    frame = np.arange(12)[:, None]
    depth = shots.depth[frame, row, column]
    seen = depth > 0
    assert seen.mean() > 0.85
    gap = shots.vertices[..., 2] - depth
    assert np.median(np.abs(gap[seen & (gap < 0.004)])) < 0.003
    assert (gap[seen] > -0.012).mean() > 0.97
    assert (shots.opacity[frame, row, column] > 0.5).mean() > 0.85
    nearest = np.where(shots.depth > 0, shots.depth, np.inf).min((1, 2))
    assert np.median(nearest / shots.vertices[..., 2].min(1)) > 0.98, "at the edges, too"
    assert (shots.colour[:, :, 0, 0][shots.opacity[:, 0, 0] == 0] == 0).all()


def test_the_resolution_is_independent_of_the_crop(hand, renderer, scenes, shots):
    finer = SceneRenderer(hand, renderer, 128).render(scenes)
    assert finer.colour.shape == (12, 3, 128, 128)
    np.testing.assert_array_equal(finer.joints_px, shots.joints_px)
    np.testing.assert_array_equal(finer.intrinsics, shots.intrinsics)
    pooled = finer.opacity.reshape(12, 64, 2, 64, 2).mean((2, 4))
    assert np.abs(pooled - shots.opacity).mean() < 0.005  # 0.011 for every second pixel
    colour = finer.colour.reshape(12, 3, 64, 2, 64, 2).mean((3, 5))
    assert np.abs(colour - shots.colour).mean() < 0.003  # 0.006


def test_frames_do_not_depend_on_their_batch(hand, renderer, scenes, shots):
    alone = SceneRenderer(hand, renderer, 64).render(scenes[4:5])
    np.testing.assert_allclose(alone.joints[0], shots.joints[4], atol=1e-6)
    assert (np.abs(alone.colour[0] - shots.colour[4]) > 0.01).mean() < 0.005


def test_a_clip_keeps_distance_and_aim(hand, renderer, scenes):
    scene_renderer = SceneRenderer(hand, renderer, 32)
    scenes = scenes.map(torch.clone)
    for name in ("focal", "fill", "centre", "view"):
        values = getattr(scenes, name)
        values[:] = values[:1].expand_as(values).clone()
    shared = scene_renderer.render(scenes, frames_per_clip=6)
    palms = shared.vertices[:, 778 // 2] - shared.vertices.mean(1)
    assert palms.shape == (12, 3)
    wrist_vertex = shared.vertices[:, 92]
    # Bare of pose, shape moves the wrist by millimetres only; a new aim would by centimetres.
    assert np.ptp(wrist_vertex[:6], axis=0).max() < 0.03
    single = scene_renderer.render(scenes).vertices[:6, 92]
    assert np.ptp(single, axis=0).max() > 2 * np.ptp(wrist_vertex[:6], axis=0).max()


def test_over_by_hand():
    below = np.full((3, 1, 3), 0.8, np.float32)
    colour = np.full((3, 1, 3), 0.4, np.float32)
    opacity = np.array([[0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(over(colour, opacity, below)[0, 0], [0.8, 0.6, 0.4])
    premultiplied = over(colour * opacity, opacity, below, premultiplied=True)
    np.testing.assert_allclose(premultiplied[0, 0], [0.8, 0.6, 0.4])


def test_sensor_keeps_the_picture_and_differs_by_camera():
    picture = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (3, 64, 1))
    sensors = [Sensor.sample(np.random.default_rng(i)) for i in range(40)]
    results = [sensor.capture(np.random.default_rng(1), picture) for sensor in sensors]
    assert all(r.dtype == np.uint8 and r.shape == picture.shape for r in results)
    np.testing.assert_array_equal(results[3], sensors[3].capture(np.random.default_rng(1), picture))
    correlations = [np.corrcoef(r.ravel(), picture.ravel())[0, 1] for r in results]
    assert min(correlations) > 0.97
    means = [r.mean() / 255 for r in results]
    assert np.mean(means) == pytest.approx(0.5, abs=0.04)
    assert np.std(means) > 0.02
    noise = [np.diff(r[0].astype(float), axis=0).std() for r in results]
    assert max(noise) > 4 * min(noise)


def test_plain_sensor_is_a_rounding():
    picture = np.linspace(0, 1, 3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16)
    sensor = Sensor(np.ones((3, 1, 1), np.float32), blur=0, noise=0.0)
    captured = sensor.capture(np.random.default_rng(0), picture)
    np.testing.assert_array_equal(captured, np.floor(picture * 255 + 0.5))
    spot = np.zeros((3, 5, 5), np.float32)
    spot[:, 2, 2] = 1
    blurred = Sensor(sensor.gain, blur=1, noise=0.0).capture(np.random.default_rng(0), spot)
    expected = np.outer([0, 1, 2, 1, 0], [0, 1, 2, 1, 0]) / 16 * 255
    np.testing.assert_allclose(blurred[0], expected, atol=0.5)
