from collections import namedtuple

import numpy as np
import pytest

from s2hand.data.storage import cache
from s2hand.data.storage.cache import open_cache, required_bytes, write_cache

LAYOUT = {"image": ("|u1", (3, 4, 4)), "points": ("<f4", (2,))}


def chunk(first: int, count: int) -> dict[str, np.ndarray]:
    values = np.arange(first, first + count)
    return {
        "image": np.tile(values[:, None, None, None], (1, 3, 4, 4)),
        "points": np.stack([values, -values], 1).astype(np.float64),
    }


def test_round_trip_in_uneven_chunks(tmp_path):
    folder = tmp_path / "deep" / "cache"
    write_cache(folder, 7, LAYOUT, iter([chunk(0, 3), chunk(3, 3), chunk(6, 1)]))
    arrays = open_cache(folder, 7, LAYOUT)
    assert arrays["image"].dtype == np.uint8
    assert arrays["points"].dtype == np.float32
    assert isinstance(arrays["image"], np.memmap)
    np.testing.assert_array_equal(arrays["image"][:, 1, 2, 3], np.arange(7))
    np.testing.assert_array_equal(arrays["points"][:, 1], -np.arange(7))
    assert not arrays["image"].flags.writeable
    assert [p.name for p in folder.parent.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "^$"),
        (OSError(28, "No space left on device"), "No space left .* 0.00 GB: '.*cache'"),
    ],
)
def test_an_interrupted_cache_leaves_nothing(tmp_path, error, message):
    def chunks():
        yield chunk(0, 3)
        raise error

    with pytest.raises(type(error), match=message):
        write_cache(tmp_path / "cache", 7, LAYOUT, chunks())
    assert list(tmp_path.iterdir()) == []


def test_a_partial_folder_of_a_killed_process_is_not_read(tmp_path):
    (tmp_path / ".partial-abc").mkdir()
    (tmp_path / ".partial-abc" / "image.npy").write_bytes(b"half")
    write_cache(tmp_path / "cache", 3, LAYOUT, [chunk(0, 3)])
    assert open_cache(tmp_path / "cache", 3, LAYOUT)["points"][2, 0] == 2


def test_a_full_disk_is_refused_before_the_first_byte(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(9, 9, 10**9))

    def never():
        raise AssertionError("rendered although there is no space")
        yield

    needed = required_bytes(10**8, LAYOUT)
    assert needed == 10**8 * (48 + 8)
    with pytest.raises(OSError, match=r"1\.00 GB free .* need 5\.60 GB.*S2HAND_CACHE"):
        write_cache(tmp_path / "cache", 10**8, LAYOUT, never())
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_wins(tmp_path):
    def chunks():
        write_cache(tmp_path / "cache", 2, LAYOUT, [chunk(50, 2)])
        yield chunk(0, 2)

    write_cache(tmp_path / "cache", 2, LAYOUT, chunks())
    assert open_cache(tmp_path / "cache", 2, LAYOUT)["points"][0, 0] == 50
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([chunk(0, 2)], "not 3"),
        ([chunk(0, 4)], "not 3"),
        ([{**chunk(0, 3), "points": np.zeros((3, 5))}], "points: rows of shape"),
    ],
)
def test_chunks_that_do_not_fit_the_layout(tmp_path, chunks, message):
    with pytest.raises(ValueError, match=message):
        write_cache(tmp_path / "cache", 3, LAYOUT, chunks)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_reported_with_file_and_remedy(tmp_path):
    folder = tmp_path / "cache"
    write_cache(folder, 3, LAYOUT, [chunk(0, 3)])
    with pytest.raises(ValueError, match=r"image.npy holds uint8 \(3, 3, 4, 4\), not"):
        open_cache(folder, 4, LAYOUT)
    whole = (folder / "image.npy").read_bytes()
    (folder / "image.npy").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=rf"image.npy: .*delete {folder}"):
        open_cache(folder, 3, LAYOUT)
    np.save(folder / "image.npy", np.array([{"run": "me"}], dtype=object))
    with pytest.raises(ValueError, match=r"image.npy"):
        open_cache(folder, 3, LAYOUT)
