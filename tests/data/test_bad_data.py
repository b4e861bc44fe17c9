"""Defects of real files, and how every licensed dataset handles them.

Each test is a row of the list that the loaders keep to: validate when the dataset is opened, count
by reason, never replace a sample silently; training drops, evaluation keeps every frame or refuses.
What is of one format alone is tested beside its loader: missing and empty annotations, which are
skipped and cut the windows, in test_ho3d.py, test_dexycb.py, test_hanco.py and test_rhd.py. That
losses ignore undetected keypoints, and are finite without any, is in tests/loss/test_contract.py.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from scipy.io import loadmat, savemat

from fixtures.datasets import FORMATS, WHOLE, Read, read_once, write_evaluation
from fixtures.ho3d import meta_path
from fixtures.mano_pickles import python2_pickle
from fixtures.recorded import K
from fixtures.rhd import annotation
from s2hand.data.base import HandDataset
from s2hand.data.detections.base import NOT_YET
from s2hand.data.detections.files import SCHEMA
from s2hand.data.frames.sources import read_image
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.geometry.camera import transform_points

HAND = 60.0 + 45 * np.array([[i % 5 / 4, i // 5 / 4] for i in range(21)])
"""[21, 2] pixels inside the images of every dataset: a grid, row by row."""
INNER = 7
"""A point inside the grid, so without it the box is the same."""
CROPPED = [name for name in FORMATS if name != "freihand"]
"""FreiHAND's images are crops already."""
REMEDY = "fetch it again, or leave it out (skip)"


@pytest.fixture
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """An undamaged fixture; read only."""
    return read_once(request.param, tmp_path_factory)


every = pytest.mark.parametrize("read", FORMATS, indirect=True)


def frames_of(read: Read) -> list[str]:
    """The frames' names in a file of detections, in order."""
    dataset = FORMATS[read.name].read(read.root, NOT_YET)
    return [dataset.detection_name(i) for i in range(len(dataset))]


def rows(count: int) -> Float[np.ndarray, "n 21 3"]:
    """The hand in every frame, its confidence 0.9."""
    return np.tile(np.concatenate([HAND, np.full((21, 1), 0.9)], -1), (count, 1, 1))


def opened(
    read: Read, tmp_path: Path, values: np.ndarray, names: Sequence[str] | None = None, **more: Any
) -> HandDataset:
    """The dataset with detections from a file of these rows (x, y, confidence)."""
    names = frames_of(read) if names is None else names
    frames = [
        {"name": name, "keypoints": row.tolist()} for name, row in zip(names, values, strict=True)
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps({"schema": SCHEMA, "frames": frames, **more}))
    return FORMATS[read.name].read(read.root, path)


def affine_of(dataset: HandDataset, points: Float[np.ndarray, "21 2"]) -> Float[np.ndarray, "2 3"]:
    """The map from image to crop pixels, computed from the keypoints of frame 0."""
    known = np.concatenate([points, np.ones((21, 1))], -1)
    seen = dataset[0].keypoints[0].double().numpy()
    solved, residual, _, _ = np.linalg.lstsq(known, seen, rcond=None)
    assert (residual < 1e-6).all(), "one affine map for all"
    return np.asarray(solved.T)


@every
@pytest.mark.parametrize("junk", [(0.0, 0.0), (9999.0, -50.0), (np.nan, np.nan)])
def test_keypoints_of_confidence_0_are_masked(
    read: Read, tmp_path: Path, junk: tuple[float, float]
) -> None:
    """Row 1: not transformed, and not used for boxes."""
    values = rows(len(frames_of(read)))
    whole = opened(read, tmp_path, values)[0]
    values[:, INNER] = (*junk, 0.0)
    sample = opened(read, tmp_path, values)[0]
    assert sample.confidence[0, INNER] == 0
    assert sample.keypoints[0, INNER].tolist() == [0, 0]
    others = torch.arange(21) != INNER
    torch.testing.assert_close(sample.keypoints[0, others], whole.keypoints[0, others])
    torch.testing.assert_close(sample.camera.intrinsics, whole.camera.intrinsics)


@every
def test_training_drops_and_counts_what_is_not_detected(read: Read, tmp_path: Path) -> None:
    """Row 2: all 21 undetected."""
    values = rows(len(frames_of(read)))
    before = opened(read, tmp_path, values)
    values[0] = 0
    after = opened(read, tmp_path, values)
    assert list(after.names) == list(before.names)[1:]
    counted = {d: d.reasons["no keypoint detected"] for d in (before, after)}
    assert (counted[before], counted[after]) == (0, 1)


@pytest.mark.parametrize("name", WHOLE)
def test_evaluation_keeps_what_is_not_detected(name: str, tmp_path: Path) -> None:
    """Row 2: the given box (HO-3D's, test_ho3d.py) or the full frame."""
    root = write_evaluation(name, tmp_path / "tree")
    whole = WHOLE[name](root, None)
    assert len(whole) == len(WHOLE[name](root, NOT_YET))
    for index in range(len(whole)) if name != "ho3d" else ():
        sample = whole[index]
        assert not sample.confidence.any()
        assert not sample.keypoints.any()
        picture = read_image(whole.path(index))
        picture = ImageOps.mirror(picture) if whole.is_left(index) else picture
        expected = np.asarray(ImageOps.pad(picture, (224, 224), Image.Resampling.BILINEAR))
        shown = 255 * sample.image[0].permute(1, 2, 0).numpy()
        assert np.abs(shown - expected).mean() < 2


@every
@pytest.mark.parametrize("how", ["shorter", "keyed differently"])
def test_detections_are_joined_by_name(read: Read, tmp_path: Path, how: str) -> None:
    """Row 3: an error that names the file, the first missing frame, and what to do."""
    names = frames_of(read)
    first = names[-1] if how == "shorter" else names[0]
    written = names[:-1] if how == "shorter" else [f"{name}x" for name in names]
    values = rows(len(written))
    opened(read, tmp_path, rows(len(names))[::-1], names[::-1])  # the order does not matter
    with pytest.raises(ValueError, match=re.escape(f"no detection named '{first}'")) as caught:
        opened(read, tmp_path, values, written)
    assert str(caught.value).startswith(str(tmp_path / "found.json"))
    assert "run the detector on every image" in str(caught.value)


@every
def test_confidences_are_clamped_and_counted(read: Read, tmp_path: Path) -> None:
    """Row 4: above 1, below 0, NaN."""
    values = rows(len(frames_of(read)))
    values[0, 5:8, 2] = 1.7, -0.2, np.nan
    dataset = opened(read, tmp_path, values)
    assert dataset[0].confidence[0, 4:9].tolist() == pytest.approx([0.9, 1, 0, 0, 0.9])
    reasons = dataset.reasons
    assert reasons["confidence outside 0..1"] == 2
    assert reasons["keypoint not finite"] == 1


@every
def test_keypoints_outside_the_image_are_kept_and_flagged(read: Read, tmp_path: Path) -> None:
    """Row 5: flagged; the crop is padded with zeros, and K moves with it."""
    values = rows(len(frames_of(read)))
    before = opened(read, tmp_path, values)
    assert before.reasons["with keypoints outside the image"] == 0
    placed = affine_of(before, values[0, :, :2])
    values[0, 0, :2] = -35.0, -28.0
    dataset = opened(read, tmp_path, values)
    assert dataset.reasons["with keypoints outside the image"] == 1
    sample = dataset[0]
    assert sample.confidence[0, 0] > 0
    moved = affine_of(dataset, values[0, :, :2])
    A, B = (np.concatenate([affine, [[0, 0, 1]]]) for affine in (placed, moved))
    expected = B @ np.linalg.inv(A) @ before[0].camera.intrinsics[0].double().numpy()
    np.testing.assert_allclose(sample.camera.intrinsics[0], expected, rtol=1e-4, atol=1e-2)
    grid = torch.stack(torch.meshgrid(torch.arange(224), torch.arange(224), indexing="xy"), -1)
    at = transform_points(torch.from_numpy(np.linalg.inv(B)), grid.reshape(-1, 2).double())
    outside = (at < -3).any(-1).reshape(224, 224)
    assert outside.any() == (read.name in CROPPED)
    assert not sample.image[0, :, outside].any()
    assert sample.image[0, :, ~outside].mean() > 0.05


@pytest.mark.parametrize("read", ["ho3d", "stb", "rhd"], indirect=True)
def test_png_and_jpg_may_be_mixed(read: Read, tmp_path: Path) -> None:
    """Row 6, of the formats whose lists name no suffix: the other one is tried."""
    root = Path(shutil.copytree(read.root, tmp_path / "copy"))
    path = root / read.dataset.path(0).relative_to(read.root)
    assert path.suffix == ".png"
    Image.open(path).save(path.with_suffix(".jpg"), quality=95)
    path.unlink()
    mixed = FORMATS[read.name].read(root, root / read.detections.relative_to(read.root))
    assert list(mixed.names) == list(read.dataset.names)
    assert (mixed[0].image - read.dataset[0].image).abs().mean() < 0.02


@every
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.6])
def test_unreadable_images_are_named(read: Read, tmp_path: Path, kept: float) -> None:
    """Row 7: empty, or truncated in the header or later; an error with the path."""
    dataset, path = copied(read, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=re.escape(f"cannot read image {path}")) as caught:
        dataset[0]
    assert REMEDY in str(caught.value)


@every
def test_images_can_be_skipped(read: Read, tmp_path: Path) -> None:
    """Row 7: the skip list, by name; counted."""
    dataset, path = copied(read, tmp_path)
    path.write_bytes(b"")
    root, name = tmp_path / "copy", dataset.names[0]
    options: dict[str, Any] = {"cameras": (0, 3), "labels": True} if read.name == "hanco" else {}
    found = root / read.detections.relative_to(read.root)
    skipping = type(dataset)(root, found, skip=[name], **options)
    assert list(skipping.names) == list(dataset.names)[1:]
    assert skipping.reasons["in the skip list"] == 1
    assert skipping[0].image.any()


def copied(read: Read, tmp_path: Path) -> tuple[HandDataset, Path]:
    """A copy to damage, opened, and the file of its first image."""
    root = Path(shutil.copytree(read.root, tmp_path / "copy"))
    dataset = FORMATS[read.name].read(root, root / read.detections.relative_to(read.root))
    path: Path = dataset.path(0)
    return dataset, path


@every
def test_images_of_another_size_than_k_s_are_refused(read: Read, tmp_path: Path) -> None:
    """Row 8: labels and K are those of the published images; the message has both sizes."""
    dataset, path = copied(read, tmp_path)
    image = read_image(path)
    image.resize((image.width // 2, image.height // 2)).save(path)
    message = (
        f"{path} is {image.width // 2}x{image.height // 2}; K and "
        f"(labels|detections) belong to the published {image.width}x{image.height} images"
    )
    with pytest.raises(ValueError, match=message):
        dataset[0]


@every
def test_detections_of_resized_images_are_rescaled(read: Read, tmp_path: Path) -> None:
    """Row 8: a file with the image size of its pixels."""
    names, values = frames_of(read), rows(len(frames_of(read)))
    sizes = [read_image(path).size for path in paths_of(read)]
    if len(set(sizes)) > 1:
        with pytest.raises(ValueError, match=r"do not fit .* cropped or rotated"):
            opened(read, tmp_path, values, names, image_size=[2 * n for n in sizes[0]])
        return
    expected = opened(read, tmp_path, values)[0]
    values[..., :2] = 2 * values[..., :2] + 0.5  # u' = 2 (u + 1/2) - 1/2
    sample = opened(read, tmp_path, values, names, image_size=[2 * n for n in sizes[0]])[0]
    torch.testing.assert_close(sample.keypoints, expected.keypoints, atol=1e-3, rtol=0)
    torch.testing.assert_close(sample.camera.intrinsics, expected.camera.intrinsics)


def paths_of(read: Read) -> list[Path]:
    """The image files of all frames."""
    dataset = FORMATS[read.name].read(read.root, NOT_YET)
    return [dataset.path(i) for i in range(len(dataset))]


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def turned(points: Any) -> Any:
    """OpenCV axes as OpenGL, and back."""
    return (np.array(points) * [1, -1, -1]).tolist()


def turn_ho3d(read: Read, root: Path) -> None:
    content = {"camMat": K, "handJoints3D": read.tree.frames["SM2/0010"].joints}
    (root / "train" / meta_path("SM2/0010")).write_bytes(python2_pickle(content))


def turn_dexycb(_: Read, root: Path) -> None:
    path = sorted(root.rglob("labels_000000.npz"))[0]
    np.savez(path, joint_3d=turned(np.load(path)["joint_3d"]))


def turn_stb(_: Read, root: Path) -> None:
    path = root / "labels" / "B2Random_SK.mat"
    savemat(path, {"handPara": loadmat(path)["handPara"] * [[[1]], [[-1]], [[-1]]]})


def turn_rhd(read: Read, root: Path) -> None:
    entry = annotation(read.tree.hands, 0)
    content = {0: entry | {"xyz": np.array(turned(entry["xyz"]))}}
    (root / "training" / "anno_training.pickle").write_bytes(python2_pickle(content))


def turn_hanco(_: Read, root: Path) -> None:
    turn = np.diag([1, -1, -1, 1])
    path = root / "calib" / "0000" / "00000000.json"
    edit(path, lambda c: c | {"M": (turn @ np.array(c["M"])).tolist()})


def turn_interhand(_: Read, root: Path) -> None:
    def turn(content: Any) -> Any:
        rig = content["0"]["camrot"]
        for camera, rotation in rig.items():  # x_camera = R (x_world - position)
            rig[camera] = (np.diag([1, -1, -1]) @ np.array(rotation)).tolist()
        return content

    edit(root / "annotations" / "train" / "InterHand2.6M_train_camera.json", turn)


Damage = Callable[[Read, Path], Any]
TURNED: dict[str, tuple[Damage, str]] = {
    "freihand": (lambda _, r: edit(r / "training_xyz.json", turned), r"training_xyz\.json"),
    "ho3d": (turn_ho3d, r"SM2/meta/0010\.pkl"),
    "dexycb": (turn_dexycb, r"labels_000000\.npz"),
    "stb": (turn_stb, r"B2Random_SK\.mat: z = -\d.* mm in frame 0; other axes than the published"),
    "rhd": (turn_rhd, "00000/right"),
    "hanco": (turn_hanco, "0000/cam0/00000000"),
    "interhand": (turn_interhand, r"copy train, Capture0/ROM01_right/cam400262/image11508"),
}
"""Damage, and the file or frame that the message names. YouTube has no labels in metres."""


@pytest.mark.parametrize("read", TURNED, indirect=True)
def test_labels_behind_the_camera_are_refused(read: Read, tmp_path: Path) -> None:
    """Row 9: z <= 0 in the package's axes."""
    root = Path(shutil.copytree(read.root, tmp_path / "copy"))
    damage, where = TURNED[read.name]
    damage(read, root)
    message = "" if read.name == "stb" else r": z = -0\.\d+ m .*OpenGL axes given as OpenCV"
    with pytest.raises(ValueError, match=where + message):
        FORMATS[read.name].read(root, root / read.detections.relative_to(read.root))


def _without_joint(content: Any) -> Any:
    content["annotations"][-1]["joint_valid"].pop()  # of a single hand
    return content


LENGTHS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "freihand-xyz": ("training_xyz.json", lambda c: c[2:], "has 6 samples, training_K.json 8"),
    "freihand-verts": ("training_verts.json", lambda c: c[2:], "has 6 samples, training_K.json 8"),
    "ho3d-xyz": ("evaluation_xyz.json", lambda c: c[1:], "has 7 frames, evaluation.txt 8"),
    "ho3d-verts": ("evaluation_verts.json", lambda c: c[1:], "has 7 frames, evaluation.txt 8"),
    "hanco-meta": (
        "meta.json", lambda c: c | {"is_valid": c["is_valid"][1:]},
        "is_train has 20 frames in 4 sequences, is_valid 15 in 3",
    ),
    "hanco-images": (
        "meta.json", lambda c: {k: [row[1:] for row in rows] for k, rows in c.items()},
        "has an image of frame 4, .* 4 frames of this sequence; unpack both again",
    ),
    "interhand-valid": (
        "annotations/train/InterHand2.6M_train_data.json", _without_joint,
        r"image .* array of size 41 into shape \(42,\)",
    ),
}  # fmt: skip
"""A file, the change that shortens it, and the message with both lengths. STB's labels and
images are in test_stb.py; DexYCB, RHD and YouTube have no two lists that could differ."""


def truth_of_ho3d(root: Path, _: Path) -> HandDataset:
    """HO-3D's evaluation set with its labels, which were published later."""
    return Ho3dDataset(root, None, "evaluation", labels=True)


@pytest.mark.parametrize("case", LENGTHS)
def test_lists_of_other_lengths_are_refused(
    case: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Row 10: raise with both lengths, and the file."""
    name = case.partition("-")[0]
    read = read_once(name, tmp_path_factory)
    root = Path(shutil.copytree(read.root, tmp_path / "copy"))
    file, change, message = LENGTHS[case]
    edit(root / file, change)
    reader = truth_of_ho3d if name == "ho3d" else FORMATS[name].read
    with pytest.raises(ValueError, match=message) as caught:
        reader(root, root / read.detections.relative_to(read.root))
    assert str(root / file) in str(caught.value)
