import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from s2hand.data.synthetic import motion as synthetic_motion
from s2hand.data.synthetic.motion import (
    finger_rotations,
    moving_scene,
    pose_coefficients,
    slerp,
    smooth_path,
    smooth_rotations,
)
from s2hand.data.synthetic.scene import Scene, SceneSampler
from s2hand.geometry.rotation import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    slerp_midpoint,
    squared_angle,
)


def path(seed: int, frames: int = 200, duration: tuple[int, int] = (8, 24)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return smooth_path(rng, frames, lambda: rng.uniform(-1, 1, 3), duration)


def turns(
    seed: int, frames: int = 200, duration: tuple[int, int] = (8, 24), signs: bool = False
) -> Tensor:
    """[frames, 2, 4] within 60 degrees of no rotation, from keys of one or of random signs."""
    rng, random_signs = np.random.default_rng(seed), np.random.default_rng(seed + 1)

    def key() -> Tensor:
        axis = rng.standard_normal((2, 3))
        axis *= rng.uniform(0, np.pi / 3, (2, 1)) / np.linalg.norm(axis, axis=1, keepdims=True)
        sign = random_signs.choice([-1.0, 1.0], (2, 1)) if signs else np.ones((2, 1))
        return axis_angle_to_quaternion(torch.from_numpy(axis)) * torch.from_numpy(sign)

    return smooth_rotations(rng, frames, key, duration)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between rotations."""
    return torch.rad2deg(squared_angle(a, b).sqrt())


@given(
    seed=st.integers(0, 1000),
    frames=st.integers(1, 80),
    shortest=st.integers(3, 12),
    extra=st.integers(0, 30),
)
def test_paths_are_smooth_and_stay_among_their_points(seed, frames, shortest, extra):
    motion = path(seed, frames, (shortest, shortest + extra))
    assert motion.shape == (frames, 3)
    assert np.abs(motion).max() <= 1
    # A corner between speeds of at most 2 / shortest, spread by a Gaussian of width shortest / 4.
    bound = 4 / shortest / (np.sqrt(2 * np.pi) * shortest / 4)
    assert np.abs(np.diff(motion, 2, axis=0)).max(initial=0) < 1.6 * bound


def test_paths_move_pause_and_repeat():
    motions = np.stack([path(seed) for seed in range(20)])
    speed = np.linalg.norm(np.diff(motions, axis=1), axis=-1)
    assert 0.02 < np.median(speed) < 0.15
    assert 0.02 < (speed < 3e-3).mean() < 0.3
    assert np.quantile(speed, 0.95) > 2 * np.median(speed)
    np.testing.assert_array_equal(motions[4], path(4))


@given(seed=st.integers(0, 1000), frames=st.integers(1, 80), shortest=st.integers(3, 12))
def test_rotations_are_smooth_and_stay_among_their_keys(seed, frames, shortest):
    motion = turns(seed, frames, (shortest, shortest + 10))
    assert motion.shape == (frames, 2, 4)
    torch.testing.assert_close(motion.norm(dim=-1), torch.ones(frames, 2).double())
    identity = torch.tensor([1.0, 0, 0, 0]).double().expand_as(motion)
    assert angle(identity, motion).max() < 60 + 1e-6  # balls of less than 90 degrees are convex
    # On the unit sphere of quaternions half the angle: legs of at most 60 degrees each way.
    bound = 2 * (np.pi / 3) / shortest / (np.sqrt(2 * np.pi) * shortest / 4)
    assert np.abs(np.diff(motion.numpy(), 2, axis=0)).max(initial=0) < 1.6 * bound


def test_the_signs_of_quaternions_do_not_matter():
    for seed in range(5):
        assert angle(turns(seed), turns(seed, signs=True)).max() < 1e-5


def test_slerp_is_shoemakes():
    a, b = (Rotation.random(20, random_state=seed) for seed in (0, 1))
    first, second = (torch.from_numpy(x.as_quat(scalar_first=True)) for x in (a, b))
    for share in (0.0, 0.3, 1.0):
        ours = slerp(first, second, torch.full((20, 1), share).double())
        theirs = [Slerp([0, 1], Rotation.concatenate([a[k], b[k]]))(share) for k in range(20)]
        expected = np.stack([x.as_quat(scalar_first=True) for x in theirs])
        assert angle(ours, torch.from_numpy(expected)).max() < 1e-5
    midpoint = slerp(first, second, torch.full((20, 1), 0.5).double())
    assert angle(midpoint, slerp_midpoint(first, second)).max() < 1e-5
    assert angle(slerp(first, -first, torch.full((20, 1), 0.4).double()), first).max() < 1e-5


def test_between_two_keys_the_motion_is_slerp():
    keys = [Rotation.identity(), Rotation.from_rotvec([[0.9, -1.2, 0.6]])]
    quaternions = iter([torch.from_numpy(x.as_quat(scalar_first=True).reshape(1, 4)) for x in keys])

    class NoPause:
        def random(self) -> float:
            return 1.0

        def uniform(self, low: float, high: float) -> float:
            return 200.0  # one leg, longer than everything that is asked for

    motion = smooth_rotations(NoPause(), 100, lambda: next(quaternions), (8, 24))[:, 0]
    wanted = Slerp([0, 200], Rotation.concatenate([keys[0], keys[1][0]]))(np.arange(24, 124))
    assert angle(motion, torch.from_numpy(wanted.as_quat(scalar_first=True))).max() < 1e-5


@pytest.fixture(scope="module")
def sampler(hand):
    return SceneSampler(hand, "val", "wide")


@pytest.fixture(scope="module")
def scenes(hand, sampler) -> list[Scene]:
    """Sequences of 48 frames."""
    return [moving_scene(np.random.default_rng(i), sampler, hand, 48) for i in range(24)]


def test_what_is_one_persons_stays(scenes):
    for scene in scenes:
        for name in ("shape", "skin", "focal", "forearm", "sleeve"):
            value = getattr(scene, name)
            assert (value == value[:1]).all(), name
        for name in ("pose", "view", "fill", "centre", "wrist_bend"):
            value = getattr(scene, name)
            assert (value[1:] != value[:-1]).any(), name


def test_light_drifts_in_some_sequences_and_stays_in_others(scenes):
    drifts = [scene.light.std(0).max() for scene in scenes if (scene.light != scene.light[0]).any()]
    assert 4 < len(drifts) < 20
    assert max(drifts) > 0.02


def test_finger_rotations_survive_the_projection_on_the_pca_space(hand, sampler, monkeypatch):
    wanted = []

    def recorded(hand, quaternions):
        wanted.append(quaternions)
        return pose_coefficients(hand, quaternions)

    monkeypatch.setattr(synthetic_motion, "pose_coefficients", recorded)
    for seed in range(6):
        pose = moving_scene(np.random.default_rng(seed), sampler, hand, 48).pose
        error = angle(wanted[seed], finger_rotations(hand, pose).double())
        assert error.square().mean().sqrt() < 0.02
        assert error.max() < 0.3


def test_coefficients_and_finger_rotations_are_inverse(hand, sampler):
    rng = np.random.default_rng(0)
    pose = torch.from_numpy(np.stack([sampler.pose(rng) for _ in range(5)])).float()
    rotations = finger_rotations(hand, pose)
    assert rotations.shape == (5, 15, 4)
    torch.testing.assert_close(pose_coefficients(hand, rotations), pose, atol=1e-4, rtol=0)


def test_fingers_move_as_hands_do(hand, scenes):
    """Degrees per frame of 1/30 s, mean over the joints: varied, with pauses, without jumps."""
    moves = torch.stack([finger_rotations(hand, scene.pose).double() for scene in scenes])
    speed = angle(moves[:, 1:], moves[:, :-1]).mean(-1)
    assert 0.4 < speed.median() < 2
    assert speed.quantile(0.95) > 2 * speed.median()
    assert speed.max() < 8
    still = speed < 0.1
    held = still[:, 2:] & still[:, 1:-1] & still[:, :-2]
    assert 0.2 < held.any(1).double().mean() < 0.9
    assert (speed[:, 1:] - speed[:, :-1]).abs().max() < 1.5


def test_the_view_turns_smoothly_and_pauses(scenes):
    views = matrix_to_quaternion(torch.stack([scene.view for scene in scenes]).double())
    speed = angle(views[:, 1:], views[:, :-1])
    assert speed.max() < 8
    assert speed.median() > 0.4
    assert 0.03 < (speed < 0.1).double().mean() < 0.4
    assert (speed[:, 1:] - speed[:, :-1]).abs().max() < 1


def test_narrow_sequences_stay_within_60_degrees(hand):
    narrow, turned = SceneSampler(hand, "val", "narrow"), []
    for seed in range(10):
        view = moving_scene(np.random.default_rng(seed), narrow, hand, 60).view
        traces = view.diagonal(dim1=1, dim2=2).sum(-1)
        turned.append(torch.rad2deg(torch.arccos((traces.double() - 1) / 2)))
    assert torch.stack(turned).max() < 60.01
    assert torch.stack(turned).median() > 33  # 28 for turns of a wide view
