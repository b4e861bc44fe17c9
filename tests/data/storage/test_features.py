"""Cached features: equal to direct ones, keyed by what they depend on, complete or absent."""

from __future__ import annotations

import errno
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.frames import PlainFrames
from s2hand.data.storage import cache
from s2hand.data.storage.features import FeatureDataset
from s2hand.model.encoder import Encoder
from s2hand.model.networks import CompactNetwork


def small_maps(image: Tensor) -> tuple[Tensor, ...]:
    return image[:, :2, ::2, ::2] + 1, image.mean((2, 3), keepdim=True)


def wrapped(folder: Path, extract=small_maps, frames: PlainFrames | None = None, key: str = "k"):
    return FeatureDataset(frames or PlainFrames(), extract, key, folder)


def test_cached_maps_equal_direct_ones_to_half_precision(tmp_path: Path) -> None:
    dataset = wrapped(tmp_path, frames=PlainFrames(FeatureDataset.chunk + 3))
    dataset.prepare()
    for index in (0, FeatureDataset.chunk, len(dataset) - 1):
        sample = dataset[index]
        assert sample.features is not None
        for cached, direct in zip(sample.features, small_maps(sample.image), strict=True):
            assert cached.dtype == torch.float16
            torch.testing.assert_close(cached, direct.half())


def test_frames_and_order_are_those_of_the_dataset(tmp_path: Path) -> None:
    frames = PlainFrames(4)
    dataset = wrapped(tmp_path, frames=frames)
    dataset.prepare()
    assert (len(dataset), dataset.names) == (4, frames.names)
    assert dataset.segments() == frames.segments()
    torch.testing.assert_close(dataset[2].image, frames[2].image)


def test_a_network_predicts_the_same_from_pixels_and_from_the_cache(tmp_path: Path) -> None:
    torch.manual_seed(0)

    def encoder(strides: tuple[int, ...]) -> Encoder:
        return Encoder("mobilenetv3_small_050", "none", strides, frozen_stride=16, input_px=64)

    network = CompactNetwork(encoder)
    frames = PlainFrames(3, image_px=64)
    # As in a run, the network is new, and in training mode.
    dataset = wrapped(tmp_path, network.encoder.frozen_maps, frames, network.encoder.frozen_key)
    dataset.prepare()
    network.eval()
    sample = dataset[1]
    direct, cached = network(sample.image), network(sample.image, sample.features)
    for name, value in direct.values.items():
        torch.testing.assert_close(cached.values[name], value, atol=2e-3, rtol=1e-2)


def test_the_key_follows_the_frames_and_the_extraction(tmp_path: Path) -> None:
    plain = wrapped(tmp_path)
    others = [
        wrapped(tmp_path, key="other weights"),
        wrapped(tmp_path, frames=PlainFrames(seed=1)),
    ]
    assert len({plain.content_key, *(other.content_key for other in others)}) == 3
    assert len({plain.folder, *(other.folder for other in others)}) == 3
    assert wrapped(tmp_path).content_key == plain.content_key


def test_the_encoders_key_follows_its_frozen_weights_alone() -> None:
    torch.manual_seed(0)
    encoder = Encoder("mobilenetv3_small_050", "none", (8, 16), frozen_stride=8, input_px=64)
    key = encoder.frozen_key
    with torch.no_grad():
        next(encoder.trainable.parameters()).add_(1)
    assert encoder.frozen_key == key
    with torch.no_grad():
        next(encoder.frozen.parameters()).add_(1e-3)
    assert encoder.frozen_key != key


def test_a_finished_cache_is_not_computed_again(tmp_path: Path) -> None:
    wrapped(tmp_path).prepare()
    asked = []

    def extract(image: Tensor) -> tuple[Tensor, ...]:
        asked.append(len(image))
        return small_maps(image)

    again = wrapped(tmp_path, extract)
    again.prepare()
    assert asked == [1]  # one frame, to learn the shapes
    torch.testing.assert_close(again[3].features[0], small_maps(again[3].image)[0].half())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_computation_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    calls = []

    def extract(image: Tensor) -> tuple[Tensor, ...]:
        calls.append(len(image))
        if len(calls) == 3:
            raise error
        return small_maps(image)

    dataset = wrapped(tmp_path, extract, PlainFrames(3 * FeatureDataset.chunk))
    with pytest.raises(type(error)):
        dataset.prepare()
    assert calls == [1, FeatureDataset.chunk, FeatureDataset.chunk]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_space_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def extract(image: Tensor) -> tuple[Tensor, ...]:
        asked.append(len(image))
        return small_maps(image)

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(OSError, match=r"GB free and the 10 frames .* S2HAND_CACHE"):
        wrapped(tmp_path, extract).prepare()
    assert asked == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_runs_full_leaves_nothing_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_arrays = cache._write_arrays

    def full(folder: Path, *arguments: object) -> None:
        write_arrays(folder, *arguments)  # everything is on disk but the last byte
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write_arrays", full)
    dataset = wrapped(tmp_path)
    with pytest.raises(OSError, match="No space left on device") as failure:
        dataset.prepare()
    assert failure.value.filename == str(dataset.folder)
    assert list(tmp_path.iterdir()) == []


def test_values_beyond_half_precision_are_named(tmp_path: Path) -> None:
    dataset = wrapped(tmp_path, lambda image: (1e6 * image,))
    with pytest.raises(ValueError, match=r"'000000' .* fp16: .*data\.cache_features=false"):
        dataset.prepare()
    assert list(tmp_path.iterdir()) == []


def test_reading_before_preparing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"prepare\(\)"):
        wrapped(tmp_path)[0]


def test_a_worker_gets_the_folder_and_not_the_maps(tmp_path: Path) -> None:
    dataset = wrapped(tmp_path, frames=PlainFrames(64, image_px=64))
    dataset.prepare()
    expected = dataset[5].features[0]
    copy = pickle.dumps(dataset)
    assert len(copy) < 10_000 < sum(np.load(p).nbytes for p in dataset.folder.iterdir())
    torch.testing.assert_close(pickle.loads(copy)[5].features[0], expected)
