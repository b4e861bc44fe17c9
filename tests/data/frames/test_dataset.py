"""Own video and pictures: pixels, keypoints and K agree in every crop; bad data is counted."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import s2hand.data.frames.crops
from fixtures.video import damage, dot_centre, dot_frame, write_video
from s2hand.data.detections.base import Detections
from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.windows import WindowedDataset
from s2hand.geometry.camera import intrinsics_from_fov, project, transform_points
from s2hand.types import HandBatch
from s2hand.window import Window

COUNT, WIDTH, HEIGHT = 12, 160, 120
DOTS = np.array([[60.0 + 3 * i, 50.0 + 2 * i] for i in range(COUNT)])
K = [[150.0, 0.0, 80.0], [0.0, 150.0, 62.0], [0.0, 0.0, 1.0]]


def around(dots: np.ndarray) -> Detections:
    """Keypoint 0 is the dot; the others lie on a circle around it."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = 25 * np.stack([np.cos(angles), np.sin(angles)], -1)
    keypoints = dots[:, None] + np.concatenate([np.zeros((1, 2)), circle])
    names = tuple(f"{i:06d}" for i in range(len(dots)))
    return Detections(names, keypoints, np.full((len(dots), 21), 0.9))


def without(found: Detections, *rows: int) -> Detections:
    confidence = found.confidence.copy()
    confidence[list(rows)] = 0
    return Detections(found.names, found.keypoints, confidence)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [dot_frame(WIDTH, HEIGHT, tuple(dot)) for dot in DOTS]
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


@pytest.fixture
def make(clip: Path, tmp_path: Path) -> Any:
    def make(found: Detections | None = None, **options: Any) -> FramesDataset:
        found = around(DOTS) if found is None else found
        return FramesDataset(clip, found, **{"cache_dir": tmp_path / "cache", **options})

    return make


class TestGeometry:
    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("image_px", [224, 128])
    def test_pixels_follow_keypoints(self, make: Any, side: str, image_px: int) -> None:
        for sample in make(side=side, image_px=image_px):
            assert sample.image.shape == (1, 3, image_px, image_px)
            seen = dot_centre(sample.image[0].permute(1, 2, 0).numpy())
            in_crop = (np.array(seen) + 0.5) * 224 / image_px - 0.5
            np.testing.assert_allclose(in_crop, sample.keypoints[0, 0], atol=0.8)

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_k_follows_the_crop(self, make: Any, side: str) -> None:
        dataset = make(side=side, intrinsics=K)
        points = torch.randn(COUNT, 21, 3, dtype=torch.float64) * 0.05 + torch.tensor([0, 0, 0.5])
        full = project(points, torch.tensor(K).double().expand(COUNT, 3, 3))
        moved = transform_points(dataset.affines, full)
        world = points * torch.tensor([-1.0 if side == "left" else 1.0, 1.0, 1.0])
        cropped = torch.stack([s.camera.intrinsics[0] for s in dataset]).double()
        torch.testing.assert_close(project(world, cropped), moved, atol=1e-3, rtol=0)
        assert (cropped[:, 0, 0] > 0).all()

    def test_left_is_the_mirror_of_right(self, make: Any) -> None:
        right, left = make(), make(side="left")
        assert (right.mirrored, left.mirrored) == (False, True)
        for a, b in zip(right, left, strict=True):
            torch.testing.assert_close(a.image.flip(-1), b.image)
            torch.testing.assert_close(223 - a.keypoints[..., 0], b.keypoints[..., 0])
            torch.testing.assert_close(a.keypoints[..., 1], b.keypoints[..., 1])

    def test_keypoints_return_to_the_frame(self, make: Any) -> None:
        dataset = make()
        keypoints = torch.cat([sample.keypoints for sample in dataset]).double()
        back = transform_points(dataset.affines.inverse(), keypoints)
        np.testing.assert_allclose(back, around(DOTS).keypoints, atol=1e-3)

    def test_undetected_keypoints_stay_zero(self, make: Any) -> None:
        found = around(DOTS)
        found.confidence[3, 5] = 0
        sample = make(Detections(found.names, found.keypoints, found.confidence))[3]
        assert sample.confidence[0, 5] == 0
        assert sample.keypoints[0, 5].tolist() == [0, 0]

    def test_detections_of_a_larger_copy_are_scaled(self, make: Any) -> None:
        found = around(DOTS)
        doubled = Detections(
            found.names, 2 * found.keypoints + 0.5, found.confidence, (2 * WIDTH, 2 * HEIGHT)
        )
        for a, b in zip(make(doubled), make(), strict=True):
            torch.testing.assert_close(a.keypoints, b.keypoints)
            torch.testing.assert_close(a.image, b.image)

    def test_a_hand_at_the_border_is_padded_and_flagged(self, make: Any) -> None:
        dataset = make(around(DOTS - [50, 40]))
        assert dataset.reasons["kept with keypoints outside the image"] > 0
        assert dataset[0].image[0, :, :20, :20].max() == 0
        assert len(dataset) == COUNT

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_whole_frames_for_drawing(self, make: Any, side: str) -> None:
        dataset = make(without(around(DOTS), 2), side=side)
        pictures = list(dataset.pictures([0, 2, 5]))
        assert [picture.size for picture in pictures] == [(WIDTH, HEIGHT)] * 3
        for picture, dot in zip(pictures, DOTS[[0, 3, 6]], strict=True):
            np.testing.assert_allclose(dot_centre(np.asarray(picture)), dot, atol=0.3)


class TestIntrinsics:
    def test_from_the_field_of_view(self, make: Any) -> None:
        dataset = make(horizontal_fov_deg=70)
        expected = dataset.affines[2] @ intrinsics_from_fov(WIDTH, HEIGHT, 70)
        torch.testing.assert_close(dataset[2].camera.intrinsics[0].double(), expected)
        torch.testing.assert_close(
            dataset.frame_intrinsics[2], intrinsics_from_fov(WIDTH, HEIGHT, 70)
        )

    def test_scaled_from_the_size_of_calibration(self, make: Any) -> None:
        double = [[300.0, 0, 160.5], [0, 300.0, 124.5], [0, 0, 1]]
        scaled = make(intrinsics=double, intrinsics_size=[2 * WIDTH, 2 * HEIGHT])
        torch.testing.assert_close(scaled.frame_intrinsics[0], torch.tensor(K).double())

    @pytest.mark.parametrize(
        ("intrinsics", "message"),
        [
            ([[1.0, 2.0]], "shape"),
            ([[300.0, 0, 320], [0, 300.0, 240], [0, 0, 1]], "640x480.*intrinsics_size"),
            ([[-150.0, 0, 80], [0, 150.0, 62], [0, 0, 1]], "expected pixels"),
            ([[150.0, 0, 80], [0, 150.0, 62], [0, 0, 2]], "expected pixels"),
            ([[150.0, 0, 80], [0, float("nan"), 62], [0, 0, 1]], "expected pixels"),
        ],
    )
    def test_implausible_k_is_refused(self, make: Any, intrinsics: list, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            make(intrinsics=intrinsics)


class TestBadData:
    def test_frames_without_a_hand_are_dropped_and_counted_once(
        self, make: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            dataset = make(without(around(DOTS), 4, 5))
        assert len(dataset) == COUNT - 2
        assert dataset.reasons["no keypoint detected"] == 2
        messages = [
            r.getMessage() for r in caplog.records if r.name == "s2hand.data.frames.dataset"
        ]
        assert len(messages) == 1
        assert "10 of 12 frames kept (no keypoint detected: 2)" in messages[0]
        assert [list(run) for run in dataset.segments()] == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
        assert dataset.positions.tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
        assert dataset.names[4] == "000006"
        np.testing.assert_allclose(
            dot_centre(dataset[4].image[0].permute(1, 2, 0).numpy()),
            dataset[4].keypoints[0, 0],
            atol=0.8,
        )

    def test_a_warning_where_most_is_lost(
        self, make: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        make(without(around(DOTS), *range(2, COUNT)))
        assert [r.levelname for r in caplog.records] == ["WARNING"]

    def test_keep_all_uses_the_previous_box_or_the_full_frame(self, make: Any) -> None:
        dataset = make(without(around(DOTS), 0, 5), keep_all=True)
        assert len(dataset) == COUNT
        torch.testing.assert_close(dataset.affines[5], dataset.affines[4])
        assert dataset[5].confidence.max() == 0
        corners = torch.tensor([[[-0.5, -20.5], [159.5, 139.5]]]).double()
        whole = transform_points(dataset.affines[:1], corners)[0].tolist()
        np.testing.assert_allclose(whole, [[-0.5, -0.5], [223.5, 223.5]])
        assert [list(run) for run in dataset.segments()] == [list(range(COUNT))]

    def test_no_hand_anywhere_is_an_error(self, make: Any) -> None:
        with pytest.raises(
            ValueError,
            match=r"clip\.mp4: none of its 12 frames can be used \(no keypoint detected: 12\)",
        ):
            make(without(around(DOTS), *range(COUNT)))

    def test_a_hand_in_few_frames_is_reported_where_all_are_kept(
        self, make: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = make(without(around(DOTS), *range(2, COUNT)), keep_all=True)
        assert len(dataset) == COUNT
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "2 of 12 frames with a hand (no keypoint detected: 10)" in record.getMessage()

    @pytest.mark.parametrize(
        ("count", "message"),
        [
            (COUNT - 1, "has 12 frames, .* only 11: run"),
            (COUNT + 1, "ends after 12 frames, but 13"),
        ],
    )
    def test_detections_of_another_length(self, make: Any, count: int, message: str) -> None:
        dots = np.concatenate([DOTS, DOTS])[:count]
        with pytest.raises(ValueError, match=message):
            make(around(dots))


class TestOddVideos:
    def test_frames_before_damage_are_served(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        noise = np.random.default_rng(0).integers(-25, 25, (30, HEIGHT, WIDTH, 3))
        dots = np.array([[60.0 + i, 60.0] for i in range(30)])
        plain = np.stack([dot_frame(WIDTH, HEIGHT, tuple(dot)) for dot in dots])
        frames = list((plain + noise).clip(0, 255).astype(np.uint8))
        path = write_video(tmp_path / "a.mp4", frames, codec="libx264", movflags="faststart")
        dataset = FramesDataset(damage(path, 0.5, 50_000), around(dots), cache_dir=tmp_path)
        assert "a.mp4" in caplog.text
        count = len(dataset)
        assert 8 < count < 20
        assert dataset.reasons["behind damage in the video"] == 30 - count
        assert dataset.total == count
        assert [list(run) for run in dataset.segments()] == [list(range(count))]
        for sample in [dataset[i] for i in range(0, count - 4, 5)]:
            pixels = sample.image[0].permute(1, 2, 0).numpy() > 0.7
            np.testing.assert_allclose(dot_centre(pixels), sample.keypoints[0, 0], atol=2)
        assert len(list(dataset.pictures(range(count)))) == count

    def test_times_are_the_files_own(self, tmp_path: Path) -> None:
        stamps = [0.0, 0.04, 0.3, 0.33, 0.5, 1.0]
        frames = [dot_frame(WIDTH, HEIGHT, tuple(dot)) for dot in DOTS[: len(stamps)]]
        path = write_video(tmp_path / "a.mp4", frames, codec="libx264", times=stamps)
        found = without(around(DOTS[: len(stamps)]), 2)
        dataset = FramesDataset(path, found, cache_dir=tmp_path)
        np.testing.assert_allclose(dataset.times, [0.0, 0.04, 0.33, 0.5, 1.0], atol=2e-3)
        assert dataset.fps == pytest.approx(5, rel=0.01)
        rarer = FramesDataset(path, found, every=2, cache_dir=tmp_path)
        assert rarer.source_fps == pytest.approx(5, rel=0.01)
        assert rarer.fps == pytest.approx(2.5, rel=0.01)

    def test_one_frame(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "one.mp4", [dot_frame(WIDTH, HEIGHT, tuple(DOTS[0]))])
        dataset = FramesDataset(path, around(DOTS[:1]), cache_dir=tmp_path)
        assert [list(run) for run in dataset.segments()] == [[0]]
        assert dataset.times.tolist() == [0]
        assert dataset.fps == pytest.approx(30)
        with pytest.raises(ValueError, match=r"window of 3 frames.* longest .* has 1"):
            WindowedDataset(dataset, Window(3))

    def test_odd_sizes(self, tmp_path: Path) -> None:
        frames = [dot_frame(161, 121, tuple(dot)) for dot in DOTS]
        path = write_video(tmp_path / "odd.mp4", frames)
        for sample in FramesDataset(path, around(DOTS), cache_dir=tmp_path):
            seen = dot_centre(sample.image[0].permute(1, 2, 0).numpy())
            np.testing.assert_allclose(seen, sample.keypoints[0, 0], atol=0.8)


class TestSplit:
    def test_train_and_val_share_all_frames(self, make: Any) -> None:
        options = {"val_every": 3, "block_frames": 2}
        train, val = make(split="train", **options), make(split="val", **options)
        assert val.names == ["000004", "000005", "000010", "000011"]
        assert sorted([*train.names, *val.names]) == list(make().names)
        assert [list(run) for run in train.segments()] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        both = make()
        torch.testing.assert_close(val[2].image, both[10].image)
        torch.testing.assert_close(val[2].keypoints, both[10].keypoints)
        assert val[2].index.tolist() == [2]

    def test_the_split_does_not_move_with_dropped_frames(self, make: Any) -> None:
        val = make(without(around(DOTS), 0, 1), split="val", val_every=3, block_frames=2)
        assert val.names == ["000004", "000005", "000010", "000011"]

    @pytest.mark.parametrize("options", [{"split": "test"}, {"val_every": 1}, {"block_frames": 0}])
    def test_bad_options_are_refused(self, make: Any, options: dict) -> None:
        with pytest.raises(ValueError, match="use 'all', 'train' or 'val'"):
            make(**options)

    def test_an_empty_part_is_an_error(self, make: Any) -> None:
        with pytest.raises(
            ValueError, match=r"no frame in split 'val' of its 12 usable frames.*block_frames=30"
        ):
            make(split="val")


class TestCache:
    def test_the_video_is_decoded_once(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = make(split="train", val_every=3, block_frames=2)
        dataset.prepare()
        image = dataset[0].image

        def forbidden(*_: Any) -> None:
            raise AssertionError("decoded again")

        monkeypatch.setattr(s2hand.data.frames.crops, "crop_image", forbidden)
        again = make(split="train", val_every=3, block_frames=2)
        torch.testing.assert_close(again[0].image, image)
        make(split="val", val_every=3, block_frames=2).prepare()
        with pytest.raises(AssertionError, match="decoded again"):
            make(margin=1.6).prepare()

    def test_an_interrupted_preparation_leaves_nothing(
        self, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        calls = []

        def stop_late(*arguments: Any) -> np.ndarray:
            calls.append(arguments)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return np.zeros((224, 224, 3), np.uint8)

        with monkeypatch.context() as patch:
            patch.setattr(s2hand.data.frames.crops, "crop_image", stop_late)
            with pytest.raises(KeyboardInterrupt):
                make().prepare()
        assert list((tmp_path / "cache" / "frames").iterdir()) == []
        assert make()[0].image.max() > 0.5

    def test_keys_distinguish_contents(self, make: Any) -> None:
        moved = around(DOTS)
        moved.keypoints[0, 0] += 0.5  # inside the circle: the box stays
        variants = [
            {},
            {"margin": 1.6},
            {"image_px": 64},
            {"side": "left"},
            {"horizontal_fov_deg": 50},
            {"split": "train", "val_every": 3, "block_frames": 2},
            {"found": moved},
        ]
        keys = [make(**options).content_key for options in variants]
        assert len(set(keys)) == len(variants)
        assert make().content_key == keys[0]

    def test_samples_survive_pickling_and_stack(self, make: Any) -> None:
        dataset = make()
        first = dataset[0]
        packed = pickle.dumps(dataset)
        assert len(packed) < 200_000
        again = pickle.loads(packed)
        torch.testing.assert_close(again[0].image, first.image)
        batch = HandBatch.stack([dataset[0], dataset[1]])
        assert batch.image.shape == (2, 1, 3, 224, 224)
        assert batch.camera.intrinsics.shape == (2, 1, 3, 3)
        assert batch.index.tolist() == [[0], [1]]
        assert batch.labels is None
        with pytest.raises(IndexError):
            dataset[COUNT]


class TestPictures:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Three pictures: one plain, one of another size, one rotated by EXIF."""
        folder = tmp_path / "pictures"
        folder.mkdir()
        Image.fromarray(dot_frame(160, 120, (60, 50))).save(folder / "a.png")
        Image.fromarray(dot_frame(200, 150, (63, 52))).save(folder / "b.png")
        exif = Image.Exif()
        exif[0x0112] = 6  # upright pixel (x, y) is stored at (y, 160 - 1 - x)
        Image.fromarray(dot_frame(120, 160, (54, 160 - 1 - 66))).save(folder / "c.png", exif=exif)
        return folder

    def found(self) -> Detections:
        found = around(DOTS[:3])
        return Detections(("a", "b", "c"), found.keypoints, found.confidence)

    def test_pixels_follow_keypoints(self, folder: Path, tmp_path: Path) -> None:
        dataset = FramesDataset(folder, self.found(), cache_dir=tmp_path)
        assert dataset.names == ["a.png", "b.png", "c.png"]
        assert dataset.times is None
        assert dataset.fps is None
        assert [list(run) for run in dataset.segments()] == [[0], [1], [2]]
        for sample in dataset:
            seen = dot_centre(sample.image[0].permute(1, 2, 0).numpy())
            np.testing.assert_allclose(seen, sample.keypoints[0, 0], atol=0.8)
        torch.testing.assert_close(dataset.frame_intrinsics[1], intrinsics_from_fov(200, 150, 60))

    def test_numbered_pictures_can_be_a_sequence(self, folder: Path, tmp_path: Path) -> None:
        dataset = FramesDataset(folder, self.found(), sequence=True, cache_dir=tmp_path)
        assert [list(run) for run in dataset.segments()] == [[0, 1, 2]]

    def test_unreadable_pictures_are_named_or_skipped(self, folder: Path, tmp_path: Path) -> None:
        content = (folder / "b.png").read_bytes()
        (folder / "b.png").write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=r"cannot read image .*b\.png"):
            FramesDataset(folder, self.found(), cache_dir=tmp_path).prepare()
        dataset = FramesDataset(folder, self.found(), skip=["b.png"], cache_dir=tmp_path)
        dataset.prepare()
        assert dataset.names == ["a.png", "c.png"]

    def test_a_picture_without_detection_is_named(self, folder: Path, tmp_path: Path) -> None:
        found = self.found()
        other = Detections(("a", "x", "c"), found.keypoints, found.confidence)
        with pytest.raises(ValueError, match=r"no detection named 'b\.png'"):
            FramesDataset(folder, other, cache_dir=tmp_path)


@pytest.fixture(scope="module")
def real(real_video: Path, tmp_path_factory: pytest.TempPathFactory) -> FramesDataset:
    return FramesDataset(
        real_video,
        real_video.with_suffix(".keypoints.json"),
        image_px=64,
        cache_dir=tmp_path_factory.mktemp("cache"),
    )


class TestRealVideo:
    def test_every_frame_is_kept_with_the_hand_well_inside(self, real: FramesDataset) -> None:
        assert len(real) == 621
        assert [list(run) for run in real.segments()] == [list(range(621))]
        keypoints = real.keypoints[real.confidence > 0]
        assert keypoints.min() > 20
        assert keypoints.max() < 204

    def test_crops_do_not_jump(self, real: FramesDataset) -> None:
        side = 224 / real.affines[:, 0, 0]
        centre = transform_points(real.affines.inverse(), torch.full((621, 1, 2), 111.5).double())
        assert (side.diff().abs() / side[1:]).max() < 0.05
        assert (centre[:, 0].diff(dim=0).norm(dim=-1) / side[1:]).max() < 0.02

    def test_keypoints_sit_on_skin(self, real: FramesDataset) -> None:
        def redness(sample: HandBatch, shift: float) -> torch.Tensor:
            trusted = sample.keypoints[0, sample.confidence[0] > 0.5]
            u, v = (((trusted + shift + 0.5) * 64 / 224 - 0.5).round().long().clamp(0, 63)).T
            return (sample.image[0, 0] - sample.image[0, 2])[v, u]

        samples = [real[i] for i in range(0, 621, 20)]
        on, off = (torch.cat([redness(s, d) for s in samples]) for d in (0.0, 90.0))
        # The background is bluish grey, skin is red.
        assert (on > 0.08).float().mean() > 0.95
        assert (off > 0.08).float().mean() < 0.35
