import numpy as np
import pytest
import torch

from s2hand.data.synthetic import sequences as synthetic_sequences
from s2hand.data.synthetic.sequences import SyntheticSequences
from s2hand.data.windows import WindowedDataset
from s2hand.geometry.camera import project
from s2hand.types import HandBatch
from s2hand.window import Window


@pytest.fixture(scope="module")
def make(hand, renderer):
    def make(**changes: object) -> SyntheticSequences:
        options = {
            "split": "val", "sequences": 3, "frames_per_sequence": 8,
            "image_px": 32, "cache": False, **changes,
        }  # fmt: skip
        return SyntheticSequences(hand, renderer, **options)

    return make


def test_segments_are_the_sequences(make):
    dataset = make()
    assert len(dataset) == 24
    assert [list(run) for run in dataset.segments()] == [
        list(range(start, start + 8)) for start in (0, 8, 16)
    ]
    assert dataset.names[9] == "val/0001/0001"
    assert len(set(dataset.names)) == 24
    assert len(WindowedDataset(dataset, Window(5))) == 12
    with pytest.raises(ValueError, match="has 8"):
        WindowedDataset(dataset, Window(5, stride=2))


def test_a_window_is_continuous_and_sequences_differ(make):
    dataset = make()
    first, second = (HandBatch.cat([dataset[i] for i in run]) for run in dataset.segments()[:2])
    assert first.image.shape == (8, 3, 32, 32)
    steps = (first.labels.joints[1:] - first.labels.joints[:-1]).norm(dim=-1)
    assert 1e-5 < steps.max() < 0.03
    within = (first.image[1:] - first.image[:-1]).abs().mean()
    assert (first.image[0] - second.image[0]).abs().mean() > 2 * within
    assert (first.camera.intrinsics == first.camera.intrinsics[0]).all()


def test_one_background_per_sequence_before_a_moving_camera(make, monkeypatch):
    rows = np.arange(40, dtype=np.float32)[:, None] / 64
    plain = np.stack([rows + 0 * rows.T, 0 * rows + rows.T, np.ones((40, 40), np.float32)])
    drawn = []
    monkeypatch.setattr(
        synthetic_sequences, "backdrop", lambda rng, px: drawn.append(px) or plain[:, :px, :px]
    )
    monkeypatch.setattr(synthetic_sequences.Sensor, "capture", lambda self, rng, picture: picture)
    monkeypatch.setattr(synthetic_sequences, "_passing_object", lambda rng, shots: None)
    dataset = make(frames_per_sequence=60)
    shots = []
    render = dataset._scene_renderer.render
    monkeypatch.setattr(
        dataset._scene_renderer,
        "render",
        lambda *args, **kw: shots.append(render(*args, **kw)) or shots[-1],
    )
    images = dataset.render(range(60))["image"]
    assert drawn == [40]
    # Where there is no hand, every frame is one window of the one background.
    corners = set()
    for image, opacity in zip(images, shots[0].opacity, strict=True):
        row, column = np.argwhere(opacity == 0)[0]
        top, left = np.round(image[:2, row, column] * 64).astype(int) - (row, column)
        window = plain[:, top : top + 32, left : left + 32]
        np.testing.assert_array_equal(image[:, opacity == 0], window[:, opacity == 0])
        corners.add((top, left))
    assert len(corners) > 1  # the camera moves


def test_one_sensor_captures_a_sequence(make, monkeypatch):
    sensors, sample = [], synthetic_sequences.Sensor.sample
    monkeypatch.setattr(
        synthetic_sequences.Sensor, "sample", lambda rng: sensors.append(sample(rng)) or sensors[-1]
    )
    make().render(range(8, 16))
    assert len(sensors) == 1


def test_whole_frames_are_undetected_in_some_sequences(make):
    dataset = make(sequences=10, frames_per_sequence=48)
    blocks = [dataset.render(range(run[0], run[-1] + 1)) for run in dataset.segments()]
    missing = np.stack([(block["confidence"] == 0).all(1) for block in blocks])
    assert 0 < missing.any(1).sum() < 10
    assert missing.sum(1).max() < 16


def test_the_camera_does_not_follow_the_fingers(make, monkeypatch):
    dataset = make()
    render, clips = dataset._scene_renderer.render, []

    def recorded(scenes, frames_per_clip=1):
        clips.append(frames_per_clip)
        return render(scenes, frames_per_clip)

    monkeypatch.setattr(dataset._scene_renderer, "render", recorded)
    dataset[20]
    assert clips == [8]


def test_detections_are_near_the_truth(make):
    dataset = make()
    batch = HandBatch.cat([dataset[i] for i in range(24)])
    truth = project(batch.labels.joints, batch.camera.intrinsics)
    error = (truth - batch.keypoints).norm(dim=-1)
    assert error[batch.confidence > 0.5].median() < 6
    assert (truth > -20).all()
    assert (truth < 244).all()


def test_sequences_depend_on_their_number_alone(make, tmp_path):
    dataset, longer = make(), make(sequences=12, cache=tmp_path)
    longer.prepare()
    for index in (0, 13, 23):
        torch.testing.assert_close(
            dataset[index].labels.joints, longer[index].labels.joints, atol=1e-5, rtol=0
        )
        assert ((dataset[index].image - longer[index].image).abs() > 0.01).float().mean() < 0.01
        assert longer[index].index.item() == index


def test_a_sequence_is_rendered_once_for_its_windows(make, monkeypatch):
    dataset = make()
    calls = []
    render = dataset.render
    monkeypatch.setattr(dataset, "render", lambda frames: calls.append(frames) or render(frames))
    windows = WindowedDataset(dataset, Window(4))
    windows[0], windows[1]
    assert calls == [range(0, 8)]
    with pytest.raises(ValueError, match=r"range\(2, 8\)"):
        render(range(2, 8))


def test_content_key_follows_the_frames(make):
    key = make().content_key
    changes = [
        {"split": "test"}, {"sequences": 4}, {"frames_per_sequence": 9}, {"seed": 1},
        {"view": "narrow"}, {"image_px": 48},
    ]  # fmt: skip
    assert len({key, *(make(**change).content_key for change in changes)}) == 1 + len(changes)
    assert make(labels=False).content_key == key
    assert make(split="train")[0].labels is None


def test_a_new_version_leaves_old_caches_alone(make, monkeypatch):
    key = make().content_key
    monkeypatch.setattr(synthetic_sequences, "VERSION", synthetic_sequences.VERSION + 1)
    assert make().content_key != key


def test_objects_pass_and_leave(make, monkeypatch):
    dataset, passing = (
        make(sequences=6, frames_per_sequence=30),
        synthetic_sequences._passing_object,
    )

    def films() -> np.ndarray:
        return np.stack([dataset.render(range(i, i + 30))["image"] for i in range(0, 180, 30)])

    def none(rng, shots):
        passing(rng, shots)  # draws the same numbers, so that all else stays the same

    with_objects = films().astype(int)
    monkeypatch.setattr(synthetic_sequences, "_passing_object", none)
    covered = (np.abs(with_objects - films()).max(2) > 8).mean((2, 3))  # [sequence, frame]
    some = covered[covered.any(1)]
    assert 1 < len(some) < 6
    assert some.max() > 0.1
    assert (some.min(1) == 0).all(), "an object is out of the picture before or after"
