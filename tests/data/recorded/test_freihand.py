"""FreiHAND's format: what is read, what is not, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.freihand import BACKGROUNDS, FreiHandTree
from fixtures.hands import regressed_joints
from s2hand.data.recorded import freihand as freihand_module
from s2hand.data.recorded.freihand import FreiHandDataset, read_label_rows, read_rows
from s2hand.geometry.camera import project


@pytest.fixture
def copy(freihand: FreiHandTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(freihand.root, tmp_path / "copy"))


def edit(path: Path, change: Callable[[list], list]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


class TestTraining:
    def test_all_variants_share_annotations(self, freihand: FreiHandTree) -> None:
        dataset = FreiHandDataset(
            freihand.root, freihand.training_detections, variants=(0, 1, 2, 3), labels=True
        )
        assert len(dataset) == 4 * 7
        assert dataset.names[:3] == ["00000000", "00000001", "00000003"]
        assert dataset.names[7] == "00000008"
        for i, (name, sample) in enumerate(zip(dataset.names, dataset, strict=True)):
            truth = int(name) % 8
            assert sample.labels is not None
            np.testing.assert_allclose(sample.labels.joints[0], freihand.training_joints[truth])
            np.testing.assert_allclose(sample.keypoints[0], freihand.training_uv[truth], atol=1e-4)
            corner = 255 * sample.image[0, :, :9, :9].mean((1, 2))
            np.testing.assert_allclose(corner, BACKGROUNDS[int(name) // 8], atol=4)
            assert sample.index.tolist() == [i]

    def test_a_choice_of_variants(self, freihand: FreiHandTree) -> None:
        dataset = FreiHandDataset(freihand.root, freihand.training_detections, variants=[2])
        assert dataset.names[0] == "00000016"
        with pytest.raises(ValueError, match=r"variants=\[4\]: choose from 0\.\.3"):
            FreiHandDataset(freihand.root, freihand.training_detections, variants=[4])

    def test_labels_are_never_read_unasked(self, copy: Path) -> None:
        for kind in ("xyz", "verts", "scale"):
            (copy / f"training_{kind}.json").unlink()
        detections = copy / "training_detections.json"
        dataset = FreiHandDataset(copy, detections)
        assert all(sample.labels is None for sample in dataset)
        with pytest.raises(FileNotFoundError, match=r"training_xyz\.json"):
            FreiHandDataset(copy, detections, labels=True)

    def test_undetected_images_are_dropped_and_counted_once(
        self, freihand: FreiHandTree, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            dataset = FreiHandDataset(freihand.root, freihand.training_detections)
        assert "00000002" not in dataset.names
        assert dataset.reasons["no keypoint detected"] == 1
        assert [r.getMessage().split(": ", 1)[1] for r in caplog.records] == [
            "7 of 8 frames kept (no keypoint detected: 1)"
        ]

    def test_k_projects_labels_onto_detections(self, freihand: FreiHandTree) -> None:
        dataset = FreiHandDataset(freihand.root, freihand.training_detections, labels=True)
        for sample in dataset:
            assert sample.labels is not None
            uv = project(sample.labels.joints, sample.camera.intrinsics)
            torch.testing.assert_close(uv, sample.keypoints, atol=1e-3, rtol=0)

    def test_joints_are_the_regressors(self, freihand: FreiHandTree) -> None:
        dataset = FreiHandDataset(freihand.root, freihand.training_detections, labels=True)
        labels = dataset[0].labels
        assert labels is not None
        regressed = regressed_joints(labels.vertices)
        torch.testing.assert_close(regressed, labels.joints, atol=1e-5, rtol=0)

    def test_no_sequences(self, freihand: FreiHandTree) -> None:
        dataset = FreiHandDataset(freihand.root, freihand.training_detections)
        assert {len(run) for run in dataset.segments()} == {1}

    def test_held_out_samples(self, freihand: FreiHandTree) -> None:
        train, val = (
            FreiHandDataset(
                freihand.root, freihand.training_detections, s, variants=(0, 1), val_count=3
            )
            for s in ("train", "val")
        )
        assert val.names == [f"{i:08d}" for i in (5, 6, 7, 13, 14, 15)]
        assert not {int(n) % 8 for n in train.names} & {5, 6, 7}
        with pytest.raises(ValueError, match="give val_count"):
            FreiHandDataset(freihand.root, freihand.training_detections, "val")
        with pytest.raises(ValueError, match="val_count=8"):
            FreiHandDataset(freihand.root, freihand.training_detections, "val", val_count=8)

    def test_a_smaller_image_samples_the_same_crop(self, freihand: FreiHandTree) -> None:
        full = FreiHandDataset(freihand.root, freihand.training_detections)
        half = FreiHandDataset(freihand.root, freihand.training_detections, image_px=112)
        torch.testing.assert_close(half[0].camera, full[0].camera)
        torch.testing.assert_close(half[0].keypoints, full[0].keypoints)
        pooled = torch.nn.functional.avg_pool2d(full[0].image, 2)
        assert (half[0].image - pooled).abs().mean() < 0.01
        assert half.content_key != full.content_key

    def test_training_without_detections_is_refused(self, freihand: FreiHandTree) -> None:
        with pytest.raises(ValueError, match="only supervision"):
            FreiHandDataset(freihand.root, None)
        with pytest.raises(ValueError, match="split='test'"):
            FreiHandDataset(freihand.root, freihand.training_detections, "test")  # type: ignore


class TestEvaluation:
    def test_order_and_count_are_kept(self, freihand: FreiHandTree) -> None:
        dataset = FreiHandDataset(
            freihand.root, freihand.evaluation_detections, "evaluation", labels=True
        )
        assert dataset.names == [f"{i:08d}" for i in range(6)]
        assert dataset[2].confidence.max() == 0
        joints = torch.cat([s.labels.joints for s in dataset if s.labels])
        vertices = torch.cat([s.labels.vertices for s in dataset if s.labels])
        np.testing.assert_allclose(joints, freihand.evaluation_joints)
        np.testing.assert_allclose(vertices, freihand.evaluation_vertices)

    def test_needs_neither_detections_nor_labels(self, copy: Path) -> None:
        (copy / "evaluation_xyz.json").unlink()
        dataset = FreiHandDataset(copy, None, "evaluation", labels=True)
        assert len(dataset) == 6
        assert dataset[0].labels is None
        assert dataset[0].confidence.max() == 0

    def test_nothing_can_be_skipped(self, freihand: FreiHandTree) -> None:
        with pytest.raises(ValueError, match="order matters"):
            FreiHandDataset(freihand.root, None, "evaluation", skip=["00000001"])


class TestBadData:
    def test_detections_of_other_names(self, copy: Path) -> None:
        path = copy / "training_detections.json"
        edit(path, lambda d: [d[0], d[1], [[f"x{n[0]}"] for n in d[2]]])
        with pytest.raises(ValueError, match=r"no detection named '00000000'"):
            FreiHandDataset(copy, path)

    def test_detections_of_the_green_screen_only(self, copy: Path) -> None:
        path = copy / "training_detections.json"

        def base_only(content: list) -> list:
            kept = [i for i, name in enumerate(content[2]) if int(name[0][:8]) < 8]
            return [[part[i] for i in kept] for part in content]

        edit(path, base_only)
        assert len(FreiHandDataset(copy, path)) == 7
        with pytest.raises(ValueError, match=r"no detection named '00000008'"):
            FreiHandDataset(copy, path, variants=(0, 1))

    def test_lists_of_different_lengths(self, copy: Path) -> None:
        edit(copy / "training_xyz.json", lambda rows: rows[:-2])
        with pytest.raises(ValueError, match=r"training_xyz\.json has 6 samples, .*K\.json 8"):
            FreiHandDataset(copy, copy / "training_detections.json", labels=True)

    def test_opengl_axes(self, copy: Path) -> None:
        for kind in ("xyz", "verts"):
            edit(
                copy / f"evaluation_{kind}.json",
                lambda rows: (np.array(rows) * [1, -1, -1]).tolist(),
            )
        with pytest.raises(ValueError, match=r"evaluation_xyz\.json: z = -0\.\d+ m .*OpenGL axes"):
            FreiHandDataset(copy, None, "evaluation", labels=True)

    def test_k_of_another_image_size(self, copy: Path) -> None:
        edit(copy / "training_K.json", lambda rows: (np.array(rows) * [[2], [2], [1]]).tolist())
        with pytest.raises(ValueError, match="on an image of 224x224; K of about 448x448"):
            FreiHandDataset(copy, copy / "training_detections.json")

    def test_a_truncated_image_is_named_or_skipped(self, copy: Path) -> None:
        path = copy / "training" / "rgb" / "00000001.jpg"
        path.write_bytes(path.read_bytes()[:900])
        dataset = FreiHandDataset(copy, copy / "training_detections.json")
        with pytest.raises(ValueError, match=r"cannot read image .*00000001\.jpg"):
            dataset[1]
        dataset = FreiHandDataset(copy, copy / "training_detections.json", skip=["00000001"])
        assert dataset.names[:2] == ["00000000", "00000003"]
        assert dataset.reasons["in the skip list"] == 1

    def test_a_missing_image_is_named(self, copy: Path) -> None:
        (copy / "training" / "rgb" / "00000003.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"00000003\.jpg"):
            FreiHandDataset(copy, copy / "training_detections.json")

    def test_an_image_of_another_size_is_named(self, copy: Path) -> None:
        Image.new("RGB", (112, 112)).save(copy / "training" / "rgb" / "00000000.jpg")
        dataset = FreiHandDataset(copy, copy / "training_detections.json")
        with pytest.raises(ValueError, match=r"00000000\.jpg is 112x112"):
            dataset[0]

    def test_keypoints_outside_are_kept_and_flagged(self, copy: Path) -> None:
        path = copy / "training_detections.json"

        def push_out(content: list) -> list:
            row = next(i for i, name in enumerate(content[2]) if name[0] == "00000004.jpg")
            content[0][row][8] = [300.0, -20.0]
            return content

        edit(path, push_out)
        dataset = FreiHandDataset(copy, path)
        assert dataset.reasons["with keypoints outside the image"] == 1
        assert dataset[dataset.names.index("00000004")].keypoints[0, 8].tolist() == [300, -20]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[[1,2,3],[4,5", r"sample 1 \(expected \(3,\)\)"),
            ("[[1,2,3],[4,5]]", r"sample 1 \(expected \(3,\)\)"),
            ("[[1,2,3], ", "cut short after 1 samples"),
            ("[]", "empty"),
            ('{"a": 1}', "not a JSON list"),
        ],
    )
    def test_annotation_files_are_checked(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "K.json").write_text(text)
        with pytest.raises(ValueError, match=rf"K\.json.*{message}"):
            read_rows(tmp_path / "K.json", (3,))

    def test_labels_are_parsed_once(
        self, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
        path = copy / "training_xyz.json"
        first = read_label_rows(path, (21, 3))
        np.testing.assert_array_equal(first, np.float32(json.loads(path.read_text())))
        monkeypatch.setattr(freihand_module, "read_rows", None)
        np.testing.assert_array_equal(read_label_rows(path, (21, 3)), first)
        monkeypatch.undo()
        monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
        path.write_text(json.dumps((2 * first).tolist()))
        np.testing.assert_array_equal(read_label_rows(path, (21, 3)), 2 * first)

    def test_annotations_are_read_exactly(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).standard_normal((5, 4, 3))
        (tmp_path / "a.json").write_text(json.dumps(rows.tolist(), indent=1))
        np.testing.assert_array_equal(read_rows(tmp_path / "a.json", (4, 3)), rows)
