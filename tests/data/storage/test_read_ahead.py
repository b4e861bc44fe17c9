"""Files read by threads, in order; the state after an error, an early end and Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from s2hand.data.recorded import frame_table
from s2hand.data.recorded.frame_table import read_labels
from s2hand.data.storage.read_ahead import MAX_CHUNK, THREADS, read_ahead

LAYOUT = {"value": ("<f8", (2,))}


def readers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("read-ahead")]


def without_readers(seconds: float = 20.0) -> bool:
    """Whether every thread ends within this time."""
    end = time.monotonic() + seconds
    while readers() and time.monotonic() < end:
        time.sleep(0.01)
    return not readers()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 5000])
def test_the_order_is_kept(count: int) -> None:
    def read(source: int) -> int:
        time.sleep(0.002 * (source % 50 == 0))
        return 3 * source

    assert list(read_ahead(read, range(count))) == [3 * source for source in range(count)]
    assert without_readers()


def test_threads_wait_for_a_slow_disk_together() -> None:
    together = threading.Barrier(THREADS, timeout=30)  # seconds; all threads must wait together

    def read(source: int) -> int:
        together.wait()
        return source

    assert list(read_ahead(read, range(10 * THREADS))) == list(range(10 * THREADS))


def test_the_first_error_in_order_is_raised_before_most_is_read() -> None:
    seen: list[int] = []

    def read(source: int) -> int:
        seen.append(source)
        time.sleep(0.0002)
        if source in (700, 730, 900):
            raise ValueError(f"file {source}")
        return source

    with pytest.raises(ValueError, match="file 700"):
        list(read_ahead(read, range(100_000)))
    assert without_readers()
    assert len(seen) < 700 + 3 * THREADS * MAX_CHUNK


@pytest.mark.parametrize("end", ["close", "interrupt"])
def test_stopping_early_drops_what_waits(end: str) -> None:
    seen: list[int] = []

    def read(source: int) -> int:
        seen.append(source)
        time.sleep(0.001)
        return source

    def consume(contents: Iterator[int]) -> None:
        for content in contents:
            if content == 40:
                raise KeyboardInterrupt

    contents = read_ahead(read, range(100_000))
    if end == "close":
        assert next(contents) == 0
        contents.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            consume(contents)
        contents.close()
    assert without_readers()
    stopped = len(seen)
    time.sleep(0.05)
    assert len(seen) == stopped < 4 * THREADS * MAX_CHUNK


def label_files(folder: Path, count: int) -> list[Path | None]:
    files = [folder / f"{number:04d}.txt" for number in range(count)]
    for number, file in enumerate(files):
        file.write_text(f"{number} {-number}")
    return [None if number == 3 else file for number, file in enumerate(files)]


def read_label(path: Path) -> dict[str, np.ndarray]:
    try:
        return {"value": np.array([float(text) for text in path.read_text().split()])}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    (tmp_path / "files").mkdir()
    return tmp_path / "cache"


def test_labels_are_read_once_and_in_order(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = label_files(cache.parent / "files", 300)
    first = read_labels("test", files, LAYOUT, read_label)["value"]
    assert np.isnan(first[3]).all()
    rows = np.delete(np.arange(300), 3)
    np.testing.assert_array_equal(first[rows], np.stack([rows, -rows], 1))

    def never(path: Path) -> dict[str, np.ndarray]:
        raise AssertionError(f"{path} is read again")

    again = read_labels("test", files, LAYOUT, never)["value"]
    np.testing.assert_array_equal(again, first)
    (cache.parent / "files" / "0007.txt").write_text("70 71 ")
    assert read_labels("test", files, LAYOUT, read_label)["value"][7].tolist() == [70, 71]


def test_a_damaged_label_file_is_named_and_leaves_no_cache(cache: Path) -> None:
    files = label_files(cache.parent / "files", 300)
    for number in (200, 120):
        (cache.parent / "files" / f"{number:04d}.txt").write_text("broken")
    with pytest.raises(ValueError, match=r"0120\.txt"):
        read_labels("test", files, LAYOUT, read_label)
    assert list(cache.iterdir()) == []
    assert without_readers()


def test_a_full_disk_stops_the_readers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, frames: int, layout: object, chunks: Iterator[object]) -> None:
        next(chunks)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_table, "write_cache", full)
    with pytest.raises(OSError, match="No space") as raised:
        read_labels("test", label_files(cache.parent / "files", 300), LAYOUT, read_label)
    assert without_readers()
    assert raised.value.__traceback__ is not None  # the frames that held the readers still live
