import numpy as np
import pytest
from scipy.stats import spearmanr

from s2hand.data.synthetic.detector import NOISE_SIZE, correlated_noise, detect, joint_occlusion


def joints(n: int = 1) -> np.ndarray:
    return np.random.default_rng(3).uniform(50, 170, (n, 21, 2))


def scene(z: float, surface: float, cover: float = 0.0) -> np.ndarray:
    points = np.full((1, 21, 2), 100.0)
    return joint_occlusion(
        points,
        np.full((1, 21), z),
        np.full((1, 56, 56), surface),
        np.full((1, 28, 28), cover),
        224,
    )


def test_a_joint_just_under_the_skin_is_visible():
    assert (scene(z=0.51, surface=0.5) == 0).all()
    assert (scene(z=0.51, surface=0.0) == 0).all()  # beside the silhouette
    assert (scene(z=0.4, surface=0.5) == 0).all()


def test_a_joint_far_behind_the_surface_is_hidden():
    assert (scene(z=0.6, surface=0.5) == 1).all()
    partly = scene(z=0.52, surface=0.5)
    # Fingers: (20 - 16) of 8 mm; knuckles and wrist lie deeper under the skin.
    np.testing.assert_allclose(partly[0, [2, 8, 20]], 0.5)
    np.testing.assert_allclose(partly[0, [0, 1, 5, 9]], 0)


def test_an_object_hides_by_its_opacity():
    np.testing.assert_allclose(scene(0.5, 0.5, cover=0.7), 0.7)
    np.testing.assert_allclose(scene(0.52, 0.5, cover=0.5)[0, 8], 1 - 0.5 * 0.5)


def test_joints_outside_the_image_are_hidden_and_others_read_their_own_pixel():
    points = np.full((1, 21, 2), 10.0)
    points[0, 3] = -0.6, 10
    points[0, 4] = 223.4, 223.4
    cover = np.zeros((1, 224, 224))
    cover[0, 10, 10] = 1  # row 10, column 10
    points[0, 5] = 11, 10
    occlusion = joint_occlusion(points, np.ones((1, 21)), np.zeros((1, 8, 8)), cover, 224)[0]
    assert occlusion[3] == 1
    assert occlusion[4] == 0
    assert occlusion[5] == 0
    assert occlusion[6] == 1


def test_without_noise_the_detections_are_exact():
    keypoints, confidence = detect(joints(2), np.zeros((2, 21)), np.zeros((2, NOISE_SIZE)))
    np.testing.assert_allclose(keypoints, joints(2))
    assert (confidence > 0.85).all()


def noise_of(**parts: tuple[int, float]) -> np.ndarray:
    """[1, NOISE_SIZE]: one value of each named part, by its place in the part; 0 elsewhere."""
    begins = {"image": 0, "hardness": 57, "confusion": 78, "cue": 99}
    noise = np.zeros((1, NOISE_SIZE))
    for name, (place, value) in parts.items():
        noise[0, begins[name] + place] = value
    return noise


@pytest.mark.parametrize(
    ("noise", "logit"),
    [
        (noise_of(), 2.4),
        (noise_of(cue=(8, 1.0)), 2.4 - 3 * 0.3 - 0.5),
        (noise_of(cue=(8, -1.0)), 2.4 + 0.5),
        (noise_of(hardness=(8, 1.0)), 2.4 - 0.4),
        (noise_of(image=(0, 1.0)), 2.4 - 0.4 * 0.4),
    ],
)
def test_the_confidence_by_hand(noise, logit):
    _, confidence = detect(joints(), np.zeros((1, 21)), noise)
    assert confidence[0, 8] == pytest.approx(1 / (1 + np.exp(-logit)))


def test_a_joint_is_mistaken_for_the_next_fingers_and_more_easily_under_occlusion():
    truth, half = joints(), np.full((1, 21), 0.5)
    for confusion, occlusion, joint in [(2.9, 0 * half, 12), (2.7, 0 * half, 8), (2.7, half, 12)]:
        found, _ = detect(truth, occlusion, noise_of(confusion=(8, confusion)))
        np.testing.assert_allclose(found[0, 8], truth[0, joint])


def test_frames_do_not_mix():
    noise = np.random.default_rng(0).standard_normal((5, NOISE_SIZE))
    occlusion = np.random.default_rng(1).random((5, 21))
    together = detect(joints(5), occlusion, noise)
    alone = detect(joints(5)[2:3], occlusion[2:3], noise[2:3])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a[2], b[0])


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(5)
    truth = rng.uniform(40, 180, (3000, 21, 2))
    occlusion = np.where(rng.random((3000, 21)) < 0.3, rng.random((3000, 21)), 0.0)
    keypoints, confidence = detect(truth, occlusion, rng.standard_normal((3000, NOISE_SIZE)))
    return np.linalg.norm(keypoints - truth, axis=-1), confidence, occlusion


def test_errors_grow_and_confidences_fall_under_occlusion(many):
    error, confidence, occlusion = many
    found = confidence > 0
    clear, hidden = found & (occlusion == 0), found & (occlusion > 0.7)
    assert np.median(error[clear]) < 5
    assert np.median(error[hidden]) > 2 * np.median(error[clear])
    assert confidence[hidden].mean() < confidence[clear].mean() - 0.3
    assert 0.02 < (~found)[occlusion > 0.7].mean() < 0.3
    assert (~found)[occlusion == 0].mean() < 0.02


def test_confidence_follows_the_error_only_loosely(many):
    error, confidence, occlusion = many
    clear = (confidence > 0) & (occlusion == 0)
    assert -0.75 < spearmanr(error[confidence > 0], confidence[confidence > 0])[0] < -0.2
    assert -0.4 < spearmanr(error[clear], confidence[clear])[0] < -0.05


def test_confidence_never_sees_the_error_itself():
    rng = np.random.default_rng(8)
    noise = rng.standard_normal((40, NOISE_SIZE))
    other = noise.copy()
    other[:, 1:57] = rng.standard_normal((40, 56))  # offset, finger and joint errors
    occlusion = rng.random((40, 21))
    first, second = (detect(joints(40), occlusion, x) for x in (noise, other))
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.allclose(first[0], second[0])


def test_an_undetected_joint_is_zero(many):
    rng = np.random.default_rng(9)
    keypoints, confidence = detect(
        joints(500), np.ones((500, 21)), rng.standard_normal((500, NOISE_SIZE))
    )
    missing = confidence == 0
    assert missing.any()
    assert (keypoints[missing] == 0).all()
    assert (keypoints[~missing] != 0).all()
    assert confidence.max() <= 1
    assert confidence[~missing].min() >= 0.1


def test_errors_scale_with_the_hand():
    noise = np.random.default_rng(2).standard_normal((1, NOISE_SIZE)) * 0.3
    base = joints()
    near = detect(base * 2, np.zeros((1, 21)), noise)[0] - base * 2
    far = detect(base, np.zeros((1, 21)), noise)[0] - base
    np.testing.assert_allclose(near, 2 * far)


def test_noise_of_a_sequence_persists_and_stays_standard():
    noise = np.concatenate([correlated_noise(np.random.default_rng(i), 100) for i in range(60)])
    noise = noise.reshape(60, 100, NOISE_SIZE)[:, :, :-21]  # the last part holds the drop-outs
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert noise[:, -1].std() == pytest.approx(noise[:, 0].std(), abs=0.05)
    image, errors = noise[..., 0], noise[..., 15:57]
    assert np.corrcoef(errors[:, 1:].ravel(), errors[:, :-1].ravel())[0, 1] == pytest.approx(
        0.7, abs=0.03
    )
    assert np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1] > 0.9


def still_clip(seed: int, frames: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Errors [n, 21, 2], NaN where undetected, and confidences [n, 21] of a hand that rests."""
    truth = np.repeat(joints(), frames, 0)
    noise = correlated_noise(np.random.default_rng(seed), frames)
    keypoints, confidence = detect(truth, np.zeros((frames, 21)), noise)
    return np.where(confidence[..., None] > 0, keypoints - truth, np.nan), confidence


def test_errors_of_a_sequence_are_correlated_in_time():
    errors = np.stack([still_clip(seed)[0] for seed in range(40)])
    size = np.ptp(joints(), axis=1).max()
    errors[np.abs(errors) > 0.1 * size] = np.nan  # mistaken fingers
    steps = {}
    for lag in (1, 30):
        pair = errors[:, lag:].ravel(), errors[:, :-lag].ravel()
        known = ~np.isnan(pair[0] + pair[1])
        steps[lag] = np.corrcoef(pair[0][known], pair[1][known])[0, 1]
    assert 0.6 < steps[1] < 0.9
    assert abs(steps[30]) < 0.1


def runs(lost: np.ndarray) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.diff(np.concatenate([[0], lost.astype(int), [0]]))
    return list(np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1))


def test_a_hand_in_plain_view_is_lost_now_and_then_for_one_to_five_frames():
    lengths, partly = [], []
    for seed in range(200):
        lost = still_clip(seed)[1] == 0
        whole = lost.all(1)
        lengths.append(runs(whole))
        partly.append((lost.any(1) & ~whole).mean())
    merged = [n for each in lengths for n in each]
    assert set(merged) >= {1, 2, 3, 4, 5}
    assert np.mean(np.array(merged) <= 5) > 0.9  # two drop-outs may touch
    # Every 150 frames of 60-frame clips: in a third of them.
    assert 0.2 < np.mean([len(each) > 0 for each in lengths]) < 0.45
    assert 0.02 < np.mean(partly) < 0.25


def test_a_drop_out_of_some_joints_takes_one_to_three_neighbours():
    widths = set()
    for seed in range(100):
        lost = correlated_noise(np.random.default_rng(seed), 60)[:, -21:] == 10
        for row in lost[lost.any(1) & ~lost.all(1)]:
            widths.update(runs(row))
    assert widths >= {1, 2, 3}
    assert max(widths) <= 6  # two losses may touch
