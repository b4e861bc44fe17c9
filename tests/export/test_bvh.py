"""The skeleton's motion, read back and moved by a player of its own, against the hand layer's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fixtures.bvh import Bvh
from fixtures.hands import varied_code
from s2hand.export.bvh import euler_zyx, write_bvh
from s2hand.export.codes import ROTATION_NAMES
from s2hand.export.mirror import mirror_hand
from s2hand.export.motion import Motion
from s2hand.geometry.skeleton import FINGERS, MANO_FINGERS, TO_COMMON
from s2hand.hand.mano import ManoHead
from s2hand.types import Hand

FRAMES, FPS = 9, 30.0
TO_GLTF = np.array([1.0, -1.0, -1.0])
INNER = [TO_COMMON["mano"].index(joint) for joint in range(16)]
TOLERANCE = 1e-5  # metres
TURN_Z, TURN_Y = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def head() -> ManoHead:
    return ManoHead(convention="smplx")  # its inner joints are those that turn


@pytest.fixture(scope="module")
def hand(head: ManoHead) -> Hand:
    return head(varied_code(FRAMES))


@pytest.fixture(scope="module")
def motion(head: ManoHead, hand: Hand) -> Motion:
    return Motion(
        head.rest(hand.code.shape[0, 0])[1].numpy(), head.parents,
        (np.arange(FRAMES) / FPS).astype(np.float32), hand.quaternions[0].numpy(),
        hand.code.translation[0].numpy(), 1.13,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tips(head: ManoHead, hand: Hand) -> np.ndarray:
    ids = [head.convention.tips[FINGERS.index(finger)] for finger in MANO_FINGERS]
    return head.rest(hand.code.shape[0, 0])[0].numpy()[ids]


def written(path: Path, motion: Motion, tips: np.ndarray, fps: float = FPS) -> Bvh:
    write_bvh(path / "hand.bvh", motion, tips, 1 / fps)
    return Bvh(path / "hand.bvh")


def spun(motion: Motion, times: Any, degrees: Any, axis: Any, joint: int = 0) -> Motion:
    """The hand as in its first frame, but that one joint turns about an axis of its parent."""
    turns = Rotation.from_rotvec(np.outer(degrees, axis), degrees=True)
    first = Rotation.from_quat(np.roll(motion.quaternions[0, joint], -1))
    quaternions = np.repeat(motion.quaternions[:1], len(times), 0)
    quaternions[:, joint] = np.roll((turns * first).as_quat(), 1, -1)
    places = np.repeat(motion.translations[:1], len(times), 0)
    return replace(motion, times=np.asarray(times), quaternions=quaternions, translations=places)


def test_joints_are_where_the_hand_layer_has_them(
    tmp_path: Path, motion: Motion, tips: np.ndarray, hand: Hand
) -> None:
    bvh = written(tmp_path, motion, tips)
    assert bvh.frame_time == pytest.approx(1 / FPS, abs=1e-9)
    assert [name for name in bvh.names if "end" not in name] == list(ROTATION_NAMES)
    places = bvh.places()
    for joint, name in enumerate(ROTATION_NAMES):
        expected = hand.joints[0, :, INNER[joint]].numpy() * TO_GLTF
        np.testing.assert_allclose(places[name], expected, atol=TOLERANCE)
    for finger, name in enumerate(FINGERS):
        tip = hand.joints[0, :, 4 * finger + 4].numpy() * TO_GLTF
        # Skinning moves the tip's vertex with more than its last joint, if only a little.
        np.testing.assert_allclose(places[f"{name}_3_end"], tip, atol=1e-3)


def test_a_left_hand_is_what_is_mirrored(
    tmp_path: Path, motion: Motion, tips: np.ndarray, hand: Hand
) -> None:
    mirrored, flip = mirror_hand(hand), np.array([-1.0, 1.0, 1.0])
    left = replace(
        motion,
        joints=motion.joints * flip,
        quaternions=mirrored.quaternions[0].numpy(),
        translations=mirrored.code.translation[0].numpy(),
    )
    places = written(tmp_path, left, tips * flip).places()
    for joint, name in enumerate(ROTATION_NAMES):
        expected = mirrored.joints[0, :, INNER[joint]].numpy() * TO_GLTF
        np.testing.assert_allclose(places[name], expected, atol=TOLERANCE)


def test_at_rest_it_is_the_model_with_its_root_at_the_origin(
    tmp_path: Path, motion: Motion, tips: np.ndarray
) -> None:
    bvh = written(tmp_path, motion, tips)
    bvh.rows[:] = 0
    rest = np.stack([bvh.places()[name][0] for name in ROTATION_NAMES])
    np.testing.assert_allclose(rest, 1.13 * (motion.joints - motion.joints[0]), atol=TOLERANCE)


# Angles


def test_signs_of_quaternions_mean_nothing(
    tmp_path: Path, motion: Motion, tips: np.ndarray
) -> None:
    signs = np.where(np.random.default_rng(0).random((FRAMES, 16, 1)) < 0.5, -1.0, 1.0)
    one = written(tmp_path, motion, tips).rows
    other = written(tmp_path, replace(motion, quaternions=signs * motion.quaternions), tips).rows
    np.testing.assert_allclose(one, other, atol=2e-6)


def test_turning_on_and_on_counts_on(tmp_path: Path, motion: Motion, tips: np.ndarray) -> None:
    degrees = np.arange(0, 1100, 25)
    times = np.arange(len(degrees)) / FPS
    bvh = written(tmp_path, spun(motion, times, degrees, TURN_Z), tips)
    # The outermost of the root's angles is a turn of the picture: z of glTF's axes is -z of these.
    z, y, x = np.diff(bvh.angles("root"), axis=0).T
    np.testing.assert_allclose(z, -25, atol=1e-4)
    np.testing.assert_allclose([y, x], 0, atol=1e-4)


def test_through_the_lock_joints_stay_right_and_angles_do_not_leap(
    tmp_path: Path, motion: Motion, tips: np.ndarray
) -> None:
    degrees = np.array([80, 89, 89.99, 90, 90, 90.01, 91, 100, 89.9999999, 90])
    flat = replace(motion, quaternions=np.tile(np.float64([1, 0, 0, 0]), (FRAMES, 16, 1)))
    locked = spun(flat, np.arange(10) / FPS, degrees, TURN_Y, joint=1)
    bvh = written(tmp_path, locked, tips)
    # A turn about y alone goes on as such: its other triple would be half a turn away in z and x.
    np.testing.assert_allclose(bvh.angles("index_1"), np.outer(degrees, [0, 1, 0]), atol=1e-3)
    bone = 1.13 * (motion.joints[2] - motion.joints[1])
    moved = bvh.places()["index_2"] - bvh.places()["index_1"]
    turned = Rotation.from_rotvec(np.outer(degrees, TURN_Y), degrees=True).apply(bone)
    np.testing.assert_allclose(moved, turned * TO_GLTF, atol=TOLERANCE)


def test_in_the_lock_the_outer_angle_stays() -> None:
    degrees = np.array([[40, 80, 20], [40, 90, 20], [40, 90, 35], [41, 95, 35]])
    matrices = Rotation.from_euler("ZYX", degrees, degrees=True).as_matrix()[:, None]
    np.testing.assert_allclose(np.degrees(euler_zyx(matrices))[:, 0], degrees, atol=1e-6)


@given(
    st.lists(
        st.tuples(st.floats(-180, 180), st.sampled_from([-90, -89.99999, 0, 45, 90]),
                  st.floats(-180, 180)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_any_rotations_have_angles_that_make_them_and_go_on(euler: list[Any]) -> None:
    matrices = Rotation.from_euler("ZYX", euler, degrees=True).as_matrix()
    angles = euler_zyx(matrices[:, None])[:, 0]
    made = Rotation.from_euler("ZYX", angles).as_matrix()
    np.testing.assert_allclose(made, matrices, atol=3e-6)
    before = np.vstack([np.zeros(3), angles[:-1]])
    assert np.abs(angles - before).max() <= np.pi + 1e-9
    other = angles * [1, -1, 1] + np.pi  # the other triple, in its nearest full turns
    other -= 2 * np.pi * np.round((other - before) / (2 * np.pi))
    nearer = np.square(angles - before).sum(1) <= np.square(other - before).sum(1) + 1e-6
    assert nearer.all()


# Time


def test_a_film_of_changing_rate_is_sampled_evenly(
    tmp_path: Path, motion: Motion, tips: np.ndarray
) -> None:
    times = np.array([0.0, 0.021, 0.067, 0.12, 0.2, 0.31, 0.36, 0.49])
    constant = spun(motion, times, 200 * times, TURN_Z)
    way = np.array([0.3, -0.1, 0.2])
    constant = replace(constant, translations=constant.translations + np.outer(times, way))
    # A turn about the root itself, so that its way is straight, as it is taken between the keys.
    centred = replace(constant, joints=motion.joints - motion.joints[0])
    bvh = written(tmp_path, centred, tips, fps=20)
    assert bvh.rows.shape == (11, 51)
    at = np.minimum(np.arange(11) / 20, times[-1])
    root = bvh.places()["root"]
    np.testing.assert_allclose(root, (motion.translations[0] + np.outer(at, way)) * TO_GLTF,
                               atol=2e-6)  # fmt: skip
    turn = bvh.angles("root")[:, 0]
    np.testing.assert_allclose(turn - turn[0], -200 * at, atol=1e-3)


def test_time_stamps_rounded_to_milliseconds_leave_the_keys_alone(
    tmp_path: Path, motion: Motion, tips: np.ndarray
) -> None:
    rounded = replace(motion, times=np.round(motion.times, 3))
    assert (rounded.times != motion.times).any()
    (tmp_path / "a").mkdir()
    exact, found = written(tmp_path, motion, tips), written(tmp_path / "a", rounded, tips)
    np.testing.assert_array_equal(found.rows, exact.rows)


def test_before_the_first_key_it_waits_and_across_a_gap_it_moves(
    tmp_path: Path, motion: Motion, tips: np.ndarray
) -> None:
    times = np.array([2, 3, 7]) / FPS
    bvh = written(tmp_path, spun(motion, times, [0, 10, 50], TURN_Z), tips)
    turn = bvh.angles("root")[:, 0]
    np.testing.assert_allclose(turn - turn[0], [0, 0, 0, -10, -20, -30, -40, -50], atol=1e-4)


def test_one_frame_is_enough(tmp_path: Path, motion: Motion, tips: np.ndarray, hand: Hand) -> None:
    for first, frames in ((0.0, 1), (2 / FPS, 3)):
        still = replace(
            motion, times=np.array([first]), quaternions=motion.quaternions[3:4],
            translations=motion.translations[3:4],
        )  # fmt: skip
        place = written(tmp_path, still, tips).places()["little_3"]
        expected = hand.joints[0, 3, INNER[9]].numpy() * TO_GLTF
        np.testing.assert_allclose(place, np.tile(expected, (frames, 1)), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tips": np.zeros((4, 3))}, r"hand\.bvh: \(4, 3\) are not 5 finite tips"),
        ({"tips": np.full((5, 3), np.nan)}, "are not 5 finite tips"),
        ({"frame_time": 0.0}, r"hand\.bvh: frame_time=0\.0, must be above 0"),
        ({"frame_time": np.nan}, "frame_time=nan"),
        ({"path": "hand.fbx"}, r"hand\.fbx: a skeleton's motion is a \.bvh"),
        ({"scale": -1.0}, r"hand\.bvh: scale=-1\.0"),
    ],
)
def test_errors_leave_no_file(
    tmp_path: Path, motion: Motion, tips: np.ndarray, changed: dict[str, Any], message: str
) -> None:
    moved = replace(motion, scale=changed.pop("scale", motion.scale))
    path = tmp_path / changed.pop("path", "hand.bvh")
    with pytest.raises(ValueError, match=message):
        write_bvh(path, moved, **{"tips": tips, "frame_time": 0.1, **changed})
    assert os.listdir(tmp_path) == []
