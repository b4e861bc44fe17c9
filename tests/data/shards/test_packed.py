"""Packed datasets: bit by bit what was packed, from anywhere, or an error that names the file."""

from __future__ import annotations

import dataclasses
import errno
import functools
import http.server
import json
import os
import pickle
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixtures.frames import PlainFrames
from fixtures.freihand import FreiHandTree
from fixtures.ho3d import Ho3dTree
from fixtures.rhd import RhdTree
from fixtures.video import dot_frame, write_video
from s2hand.data.base import HandDataset
from s2hand.data.detections.base import Detections
from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.module import HandDataModule
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.data.recorded.rhd import RhdDataset
from s2hand.data.sampling import ShuffleSampler
from s2hand.data.shards import packing
from s2hand.data.shards.format import SCHEMA, read_index
from s2hand.data.shards.packed import PackedDataset
from s2hand.data.shards.packing import pack
from s2hand.data.storage.features import FeatureDataset
from s2hand.data.synthetic.sequences import SyntheticSequences
from s2hand.data.windows import WindowedDataset
from s2hand.hand.mano import ManoHead
from s2hand.render.scene import HandRenderer
from s2hand.types import HandBatch
from s2hand.window import Window


class Colours(PlainFrames):
    """Plain frames whose pixels are 8-bit colours, as those of every recording."""

    def __getitem__(self, index: int) -> HandBatch:
        sample = super().__getitem__(range(len(self))[index])
        return dataclasses.replace(sample, image=(sample.image * 255).round() / 255)


@pytest.fixture(scope="module")
def rendered(hand: ManoHead, renderer: HandRenderer) -> HandDataset:
    return SyntheticSequences(hand, renderer, "val", 2, 6, image_px=64)


@pytest.fixture(scope="module")
def left_clip(tmp_path_factory: pytest.TempPathFactory) -> HandDataset:
    folder = tmp_path_factory.mktemp("clip")
    path = write_video(folder / "a.mp4", [dot_frame(160, 120, (60 + i, 60)) for i in range(8)])
    keypoints = 60 + 20 * np.random.default_rng(0).random((8, 21, 2))
    confidence = np.ones((8, 21))
    confidence[3] = 0  # a gap
    found = Detections(tuple(f"{i:06d}" for i in range(8)), keypoints, confidence)
    return FramesDataset(path, found, "left", image_px=48)


@pytest.fixture(params=["rendered", "left_clip", "freihand", "freihand evaluation", "ho3d", "rhd"])
def original(
    request: pytest.FixtureRequest, freihand: FreiHandTree, ho3d: Ho3dTree, rhd: RhdTree
) -> HandDataset:
    """One of every way in which datasets differ: labels, segments, left hands, conventions."""
    if request.param == "rhd":
        return RhdDataset(rhd.root, rhd.detections, labels=True)
    if request.param == "freihand":
        return FreiHandDataset(freihand.root, freihand.training_detections, labels=True)
    if request.param == "freihand evaluation":
        return FreiHandDataset(freihand.root, None, "evaluation", labels=False)
    if request.param == "ho3d":
        return Ho3dDataset(ho3d.root, ho3d.detections, labels=True)
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames in six shards; read only."""
    folder = tmp_path_factory.mktemp("packed") / "set"
    pack(Colours(12), folder, raw=False, shard_bytes=4000)
    assert len(list(folder.glob("*.tar"))) == 6
    return folder


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in shards.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def leaves(sample: HandBatch) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    sample.map(lambda x: found.append(x) or x)  # type: ignore[func-returns-value]
    return found


def assert_equal(ours: HandBatch, theirs: HandBatch) -> None:
    """Equal in every bit, NaN too, and in how the images lie in memory."""
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert ours.image.stride() == theirs.image.stride()
    assert ours.camera.crop_px == theirs.camera.crop_px


@pytest.mark.parametrize("raw", [False, True])
def test_it_is_the_dataset_that_was_packed(
    original: HandDataset, raw: bool, tmp_path: Path
) -> None:
    index = pack(original, tmp_path / "set", raw, shard_bytes=10_000)
    packed = PackedDataset(tmp_path / "set")
    packed.prepare()
    assert len(index.shards) > 1
    assert len(packed) == len(original)
    batches = [HandBatch.stack([d[i] for i in range(len(d))]) for d in (packed, original)]
    assert_equal(*batches)
    assert list(packed.names) == list(original.names)
    assert packed.content_key == original.content_key
    assert [list(run) for run in packed.segments()] == [list(run) for run in original.segments()]
    numbers = range(len(original))
    assert [packed.is_left(i) for i in numbers] == [original.is_left(i) for i in numbers]
    assert [packed.recording(i) for i in numbers] == [original.recording(i) for i in numbers]
    facts = [(d.fps, d.convention, d.leaderboard, d.protocol) for d in (packed, original)]
    assert facts[0] == facts[1]
    assert_equal(packed[-1], original[len(original) - 1])
    with pytest.raises(IndexError):
        packed[len(packed)]


def test_left_hands_stay_left(left_clip: HandDataset, tmp_path: Path) -> None:
    pack(left_clip, tmp_path / "set")
    wrapped = FeatureDataset(PackedDataset(tmp_path / "set"), lambda x: (x,), "k", tmp_path)
    assert all(wrapped.is_left(i) for i in range(len(wrapped)))


def test_processes_pack_the_same_bytes(tmp_path: Path) -> None:
    for workers in (0, 2):
        pack(Colours(70), tmp_path / str(workers), shard_bytes=50_000, num_workers=workers)
    files = sorted(file.name for file in (tmp_path / "0").iterdir())
    assert len(files) > 2
    for name in files:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("raw", [False, True])
def test_webdataset_and_tar_read_the_shards(
    rendered: HandDataset, raw: bool, tmp_path: Path
) -> None:
    import webdataset

    index = pack(rendered, tmp_path / "set", raw, shard_bytes=30_000)
    paths = [str(tmp_path / "set" / name) for name, *_ in index.shards]
    read = list(webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in read] == [f"{i:08d}" for i in range(len(rendered))]
    for number, sample in enumerate(read):
        ours, numbers = rendered[number], sample["npy"]
        np.testing.assert_array_equal(numbers["keypoints"], ours.keypoints[0])
        np.testing.assert_array_equal(numbers["vertices"], ours.labels.vertices[0])
        pixels = numbers["image"].transpose(1, 2, 0) if raw else sample["png"]
        np.testing.assert_array_equal(pixels, (ours.image[0].permute(1, 2, 0) * 255).round())
    with tarfile.open(paths[0]) as tar:
        assert tar.getnames()[0] == ("00000000.npy" if raw else "00000000.png")


class TestTraining:
    def test_windows_are_those_of_the_original(self, rendered: HandDataset, tmp_path: Path) -> None:
        pack(rendered, tmp_path / "set", shard_bytes=30_000)
        window = Window(3, stride=2)
        ours, theirs = (
            WindowedDataset(d, window) for d in (PackedDataset(tmp_path / "set"), rendered)
        )
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.recordings, theirs.recordings)
        for i in (0, len(ours) - 1):
            assert_equal(ours[i], theirs[i])

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_run_sees_the_same_batches_and_resumes_within_an_epoch(
        self, shards: Path, workers: int
    ) -> None:
        def batches(make: Callable[[], HandDataset], seen: int = 0) -> list[HandBatch]:
            data = HandDataModule(make, window=Window(2), batch_size=3, num_workers=workers, seed=5)
            data.load_state_dict({"seen": seen})
            return list(data.train_dataloader())

        ours, theirs = batches(lambda: PackedDataset(shards)), batches(lambda: Colours(12))
        resumed = batches(lambda: PackedDataset(shards), seen=1)
        assert (len(ours), len(resumed)) == (3, 2)
        for a, b in zip([*ours, *resumed], [*theirs, *theirs[1:]], strict=True):
            assert_equal(a, b)

    def test_processes_read_disjoint_samples(self, shards: Path) -> None:
        packed = PackedDataset(shards)
        shares = [
            {packed.names[i] for i in ShuffleSampler(len(packed), 2, lambda: 0, 0, 3, rank)}
            for rank in range(3)
        ]
        assert set.union(*shares) == set(packed.names)
        assert sum(map(len, shares)) == len(packed)

    def test_cached_features_serve_both(self, shards: Path, tmp_path: Path) -> None:
        asked: list[int] = []

        def extract(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            asked.append(len(image))
            return (image[:, :1],)

        for frames in (Colours(12), PackedDataset(shards)):
            dataset = FeatureDataset(frames, extract, "k", tmp_path)
            dataset.prepare()
            assert dataset[4].features is not None
        assert sum(asked) == 12 + 2  # once, and a frame each to learn the shapes

    def test_samples_keep_the_convention_of_their_joints(
        self, freihand: FreiHandTree, tmp_path: Path
    ) -> None:
        pack(FreiHandDataset(freihand.root, freihand.training_detections), tmp_path / "set")
        assert PackedDataset(tmp_path / "set")[0].convention == "freihand"


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """A server of files that gives ranges of bytes, as object stores do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            data, status = data[int(asked[1]) : int(asked[2] or len(data)) + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(copy: Path) -> Iterator[tuple[str, Path]]:
    """URL and folder of a set behind HTTP."""
    handler = functools.partial(RangeHandler, directory=str(copy))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", copy
        running.shutdown()


class TestElsewhere:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_over_http_in_any_process(self, server: tuple[str, Path], workers: int) -> None:
        packed = PackedDataset(server[0])
        packed.prepare()  # connections of this process are of no use to the workers
        assert_equal(packed[0], Colours(12)[0])
        data = HandDataModule(val=lambda: packed, batch_size=4, num_workers=workers)
        found = HandBatch.cat(list(data.in_order("val")))
        assert_equal(found, HandBatch.stack([Colours(12)[i] for i in range(12)]))

    def test_what_is_missing_over_http_is_named(self, server: tuple[str, Path]) -> None:
        url, folder = server
        (folder / "frames-000002.tar").unlink()
        packed = PackedDataset(url)
        with pytest.raises(FileNotFoundError, match=rf"{url}/frames-000002\.tar is missing"):
            packed.prepare()
        with pytest.raises(FileNotFoundError, match=rf"{url}/elsewhere/index\.json is missing"):
            PackedDataset(f"{url}/elsewhere")

    def test_any_file_system_of_fsspec(self, shards: Path) -> None:
        memory = fsspec.filesystem("memory")
        memory.put(str(shards), "/bucket/set", recursive=True)
        packed = PackedDataset("memory://bucket/set/")
        packed.prepare()
        assert_equal(packed[7], Colours(12)[7])

    def test_s3(self, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        why = "pip install moto flask flask-cors s3fs: a stand-in for S3, and the way to it"
        moto = pytest.importorskip("moto.server", reason=why)
        pytest.importorskip("s3fs", reason=why)
        import boto3

        running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        try:
            url = "http://{}:{}".format(*running.get_host_and_port())
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.setenv(name, "test")
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            client = boto3.client("s3", region_name="us-east-1")
            client.create_bucket(Bucket="hands")
            for file in shards.iterdir():
                client.upload_file(str(file), "hands", f"set/{file.name}")
            packed = PackedDataset("s3://hands/set")
            packed.prepare()
            data = HandDataModule(val=lambda: packed, batch_size=4, num_workers=2)
            found = HandBatch.cat(list(data.in_order("val")))
            assert_equal(found, HandBatch.stack([Colours(12)[i] for i in range(12)]))
            client.delete_object(Bucket="hands", Key="set/frames-000003.tar")
            with pytest.raises(
                FileNotFoundError, match=r"s3://hands/set/frames-000003\.tar is mis"
            ):
                packed[7]
        finally:
            running.stop()

    def test_an_unknown_scheme_says_what_to_install(self) -> None:
        with pytest.raises(ValueError, match=r"nope://a: .*s2hand\[shards\]"):
            PackedDataset("nope://a")

    def test_any_error_of_a_file_system_names_the_file(self, shards: Path) -> None:
        class OddError(Exception):
            """As clients of object stores have them."""

        class Files:
            def cat_file(self, *_: Any, **__: Any) -> bytes:
                raise OddError("no credentials")

        packed = PackedDataset(shards)
        packed._files = (os.getpid(), Files(), "x")  # type: ignore[assignment]
        with pytest.raises(OSError, match=r"frames-000000\.tar cannot be read: no credentials"):
            packed[0]

    def test_a_worker_is_sent_no_connection(self, shards: Path) -> None:
        packed = PackedDataset(shards)
        packed[0]
        assert b"LocalFileSystem" not in pickle.dumps(packed)
        assert_equal(pickle.loads(pickle.dumps(packed))[3], packed[3])


class TestDamage:
    def test_a_missing_shard(self, copy: Path) -> None:
        (copy / "frames-000001.tar").unlink()
        with pytest.raises(FileNotFoundError, match=r"copy/frames-000001\.tar is missing: copy it"):
            PackedDataset(copy).prepare()

    def test_a_shard_cut_short(self, copy: Path) -> None:
        path = copy / "frames-000001.tar"
        path.write_bytes(path.read_bytes()[:3000])
        packed = PackedDataset(copy)
        with pytest.raises(ValueError, match=r"frames-000001\.tar has 3000 bytes, not \d+"):
            packed.prepare()
        with pytest.raises(
            ValueError, match=r"frames-000001\.tar: frame '00000\d' is damaged .*cut"
        ):
            [packed[i] for i in range(12)]

    @given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_no_changed_bit_of_a_frame_is_trained_on(
        self, shards: Path, share: float, bit: int
    ) -> None:
        packed = PackedDataset(shards)
        length = packed.index.lengths[5]
        read = packed._read

        def damaged(*place: Any) -> bytes:
            block = bytearray(read(*place))
            block[int(share * length)] ^= 1 << bit
            return bytes(block)

        packed._read = damaged  # type: ignore[method-assign]
        with pytest.raises(ValueError, match=r"\.tar: frame '000005' is damaged .*copy the file"):
            packed[5]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"schema": "s2hand.packed/2"}, "reads 's2hand.packed/1'"),
            ({"shards": [["../../etc/passwd", 9999, 12]]}, "shards="),
            ({"shards": [["frames-000000.tar", 99999, 11]]}, "as many frames"),
            ({"shards": [["frames-000000.tar", 99, 12]]}, "within their shards"),
            ({"offsets": [-1] * 12}, "offsets="),
            ({"offsets": [0.5] * 12}, "offsets="),
            ({"offsets": [True] * 12}, "offsets="),
            ({"lengths": [1] * 12}, "within their shards"),
            ({"crc32": [1]}, "not as many"),
            ({"names": ["a"] * 12}, "same name"),
            ({"names": [*"abcdefghijk", "../a"]}, "names="),
            ({"names": [*"abcdefghijk", "/a"]}, "names="),
            ({"segments": [[0, 12]]}, "segments"),
            ({"segments": [[0, 1], [1, 2]]}, "segments"),
            ({"image_px": 10**9}, "image_px"),
            ({"fps": "30"}, "fps"),
            ({"fps": 10**400}, "fps"),
            ({"fps": float("nan")}, "fps"),
            ({"convention": "__class__"}, "convention"),
            ({"leaderboard": "mine"}, "leaderboard"),
            ({"loader": "os.system"}, "unknown: loader"),
        ],
    )
    def test_an_index_that_cannot_be(self, copy: Path, change: dict[str, Any], said: str) -> None:
        path = copy / "index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(ValueError, match=rf"copy/index\.json: .*{said}.*repack the dataset"):
            PackedDataset(copy)

    @pytest.mark.parametrize("late", ["protocol", "labels_sha256"])
    def test_an_index_of_before_a_field_was_there_is_read(self, copy: Path, late: str) -> None:
        path = copy / "index.json"
        content = json.loads(path.read_text())
        del content[late]
        path.write_text(json.dumps(content))
        assert getattr(PackedDataset(copy).index, late) is None

    @given(text=st.binary(max_size=40) | st.just(b"[1]") | st.just(b"[" * 100_000))
    def test_what_is_no_index(self, text: bytes) -> None:
        with pytest.raises(ValueError, match=r"^x%20/index\.json: "):
            read_index(text, "x%20/index.json")

    def test_an_index_cut_short(self, copy: Path) -> None:
        path = copy / "index.json"
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(ValueError, match=r"index\.json: not readable, cut short\?"):
            PackedDataset(copy)

    def test_a_picture_of_another_size_is_not_decoded(self, copy: Path) -> None:
        path = copy / "index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "image_px": 17}))
        with pytest.raises(ValueError, match=r"RGB image of size \(16, 16\), not RGB of 17 px"):
            PackedDataset(copy)[0]

    def test_no_path_at_all(self) -> None:
        with pytest.raises(ValueError, match=r"path=None: .*dataset\.test="):
            PackedDataset(None)

    def test_a_folder_without_an_index(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"index\.json is missing: .*s2hand-data pack"):
            PackedDataset(tmp_path)


class Failing(Colours):
    """Frames the last of which cannot be read."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(8)
        self.error = error

    def __getitem__(self, index: int) -> HandBatch:
        if index == 7:
            raise self.error
        return super().__getitem__(index)


class TestWriting:
    @pytest.mark.parametrize(
        "error",
        [KeyboardInterrupt("now"), ValueError("a.jpg: broken"), FileNotFoundError(2, "no", "b")],
    )
    def test_an_interrupted_pack_leaves_nothing(self, tmp_path: Path, error: BaseException) -> None:
        with pytest.raises(type(error), match=re.escape(str(error))):
            pack(Failing(error), tmp_path / "set", shard_bytes=3000)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(packing, "write_json", full)  # after all shards
        with pytest.raises(OSError, match="No space left on device while packing 3 fra") as failed:
            pack(Colours(3), tmp_path / "set")
        assert failed.value.filename == str(tmp_path / "set")
        assert list(tmp_path.iterdir()) == []

    def test_what_exists_is_not_touched(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        with pytest.raises(FileExistsError, match="set exists"):
            pack(Colours(3), tmp_path / "set")
        assert list((tmp_path / "set").iterdir()) == []

    def test_pixels_that_are_no_colours_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"'000000' of PlainFrames .*without loss: .*8-bit"):
            pack(PlainFrames(3), tmp_path / "set")
        assert list(tmp_path.iterdir()) == []

    def test_what_could_not_be_read_is_not_written(self, tmp_path: Path) -> None:
        class Outside(Colours):
            names = ("../a", "b", "c")

        with pytest.raises(ValueError, match=r"set/index\.json: names="):
            pack(Outside(3), tmp_path / "set")
        assert list(tmp_path.iterdir()) == []

    def test_numbers_of_another_kind_are_refused(self, tmp_path: Path) -> None:
        class Doubles(Colours):
            def __getitem__(self, index: int) -> HandBatch:
                sample = super().__getitem__(index)
                return dataclasses.replace(sample, keypoints=sample.keypoints.double() + 1e-9)

        with pytest.raises(ValueError, match="32-bit floats"):
            pack(Doubles(3), tmp_path / "set")

    def test_cached_features_are_not_packed(self, tmp_path: Path) -> None:
        dataset = FeatureDataset(Colours(3), lambda x: (x,), "k", tmp_path / "cache")
        with pytest.raises(ValueError, match="cached features: pack the dataset without"):
            pack(dataset, tmp_path / "set")

    def test_the_version_stands_in_the_file(self, shards: Path) -> None:
        assert json.loads((shards / "index.json").read_text())["schema"] == SCHEMA
