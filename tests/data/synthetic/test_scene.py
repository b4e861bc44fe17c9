import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s2hand.data.synthetic.scene import (
    SPLITS,
    Scene,
    SceneSampler,
    split_rows,
    upright_rotation,
    view_rotation,
    zero_code,
)


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_splits_share_no_row_and_leave_none_out():
    rows = {split: split_rows(1554, split) for split in SPLITS}
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(1554))
    assert len(rows["train"]) == 1243
    assert 150 < len(rows["val"]) < 160
    np.testing.assert_array_equal(split_rows(1554, "val"), rows["val"])


def test_poses_come_from_the_splits_rows(hand):
    poses = hand.natural_poses.numpy()
    train, test = (SceneSampler(hand, split, "wide").poses for split in ("train", "test"))
    assert len(train) + len(test) < len(poses)
    assert not set(map(bytes, train)) & set(map(bytes, test))


def test_skin_of_a_file_with_negative_albedo_is_a_colour(hand):
    hand = copy.deepcopy(hand)
    hand.albedo[:5, 2] = -1e-8
    with np.errstate(all="raise"):
        skin = SceneSampler(hand, "train", "wide").sample(generator(0)).skin
    assert 0 < skin.min() < skin.max() <= 1


def test_a_pose_is_mostly_near_one_natural_pose(hand):
    sampler = SceneSampler(hand, "train", "wide")
    poses = np.stack([sampler.pose(generator(i)) for i in range(300)])
    spread = sampler.pose_spread
    nearest = np.array([(((p / 1.1 - sampler.poses) / spread) ** 2).mean(1).min() for p in poses])
    other = ((sampler.poses[:300] - sampler.poses[300:600]) / spread) ** 2
    # Half of the draws are within 1/30 of the squared distance between two rows; none is a row.
    assert np.median(nearest) < other.mean() / 30  # a ninth where the two are mixed evenly
    assert nearest.min() > 1e-4
    assert 0.5 < (poses.std(0) / spread)[:5].mean() < 1.2


def test_narrow_views_stay_within_60_degrees():
    turns = np.stack([view_rotation(generator(i), "narrow") for i in range(500)])
    angles = np.degrees(np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2))
    assert angles.max() <= 60.001
    assert angles.max() > 55
    assert np.median(angles) > 40  # uniform over the ball of rotations, not piled at its middle


def test_wide_views_see_the_hand_from_all_sides():
    turns = np.stack([view_rotation(generator(i), "wide") for i in range(4000)])
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-9
    )
    camera_side = -turns[:, 2]  # from where, in the upright hand's axes, the camera looks
    around = np.degrees(np.arctan2(camera_side[:, 0], camera_side[:, 2]))
    counts, _ = np.histogram(around, bins=8, range=(-180, 180))
    assert counts.min() > 400
    elevation = np.degrees(np.arcsin(camera_side[:, 1]))
    assert 22 < elevation.std() < 32
    assert elevation.max() > 70
    roll = np.degrees(np.arctan2(turns[:, 0, 1], turns[:, 1, 1]))
    assert (np.abs(roll) > 45).mean() > 0.2


def test_the_upright_view_shows_the_back_fingers_up(hand):
    resting = hand(zero_code(hand.num_pca))
    turn = upright_rotation(resting.joints[0])
    assert torch.linalg.det(turn) == pytest.approx(1, abs=1e-5)
    joints = resting.joints[0] @ turn.T
    assert joints[12, 1] < joints[9, 1] < joints[0, 1]  # the middle finger points up (y is down)
    assert joints[5, 0] < joints[17, 0]  # the right hand's thumb side is on the left
    vertices = resting.vertices[0] @ turn.T
    corners = vertices[hand.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    nails = vertices[:, 2] < joints[9, 2] - 0.005
    facing = normals[:, 2] < 0
    # Fingers bend away from the camera: the resting tips lie behind the knuckles.
    assert joints[[8, 12, 16, 20], 2].mean() > joints[[5, 9, 13, 17], 2].mean()
    assert facing[nails[hand.faces].all(1)].float().mean() > 0.8


def test_scenes_are_reproducible_varied_and_in_range(hand):
    sampler = SceneSampler(hand, "val", "wide")
    scenes = Scene.stack([sampler.sample(generator(i)) for i in range(64)])
    again = sampler.sample(generator(11))
    for field, value in vars(again).items():
        torch.testing.assert_close(getattr(scenes, field)[11], value, rtol=0, atol=0)
    assert scenes.skin.shape == (64, 778, 3)
    assert scenes.skin.min() > 0
    assert scenes.skin.max() <= 1
    tone = scenes.skin.mean((1, 2))
    assert tone.max() > 2 * tone.min()
    assert scenes.skin.std(1).mean() > 0.01
    skins = [torch.stack([skin[:, 1], hand.albedo[:, 1]]) for skin in scenes.skin]
    assert min(torch.corrcoef(pair)[0, 1] for pair in skins) > 0.4, "the hand file's pattern"
    assert 400 < scenes.focal.median() < 600
    assert scenes.focal.std() > 100
    assert scenes.focal.min() >= 204
    assert scenes.focal.max() <= 1130
    torch.testing.assert_close(scenes.light[:, 8:].norm(dim=1), torch.ones(64))
    assert 0.7 < (scenes.forearm[:, 0] > 0).float().mean() < 1
    assert 0.1 < (scenes.forearm[:, 1] < 1).float().mean() < 0.7
    assert scenes.shape.std(0).min() > 0.6


def test_without_albedo_the_skin_is_the_mean_skin_varied(hand):
    plain = SimpleNamespace(natural_poses=hand.natural_poses, albedo=None)
    callable_hand = type("Plain", (SimpleNamespace,), {"__call__": lambda self, code: hand(code)})
    sampler = SceneSampler(callable_hand(**vars(plain)), "train", "wide")
    skin = sampler.sample(generator(1)).skin
    assert skin.shape == (778, 3)
    assert skin.std(0).min() > 0.005, "uneven"
    assert (skin[:, 0] > skin[:, 2]).float().mean() > 0.9


def test_errors_name_the_remedy(hand):
    with pytest.raises(ValueError, match="train, val, test"):
        SceneSampler(hand, "dev", "wide")
    with pytest.raises(ValueError, match="'narrow'"):
        SceneSampler(hand, "train", "top")
    with pytest.raises(ValueError, match=r"hands_coeffs.*hand=open"):
        SceneSampler(SimpleNamespace(natural_poses=None), "train", "wide")
