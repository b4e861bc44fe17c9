"""The local page: what it answers to strangers, and what it shows on its timeline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from fixtures.tracks import FRAMES, GAP, write_track_folder
from fixtures.video import write_video
from s2hand.view.address import check_address, is_local
from s2hand.view.beside import Pictures
from s2hand.view.predicted_video import read_predicted_video
from s2hand.view.server import Viewer, _send

SECRET = "nobody shall read this"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("view")
    (root / "secret.txt").write_text(SECRET)
    out = write_track_folder(root / "out", hand_model="<img src=x onerror=alert(1)>")
    (out / "adapt.json").write_text(SECRET)
    return out


@pytest.fixture(scope="module")
def viewer(folder: Path) -> Iterator[Viewer]:
    viewer = Viewer(read_predicted_video(folder), port=0)
    threading.Thread(target=viewer.run, daemon=True).start()
    yield viewer
    viewer.stop()


def answer(viewer: Viewer, path: str) -> bytes:
    """What the server says to a request whose path nobody has tidied up."""
    address = (viewer.server.get_host(), viewer.server.get_port())
    with socket.create_connection(address, timeout=20) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def until(condition: Callable[[], bool]) -> bool:
    """Wait for what another thread does."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def are_at(viewer: Viewer, joints: np.ndarray) -> bool:
    return np.allclose(viewer._hand._joints.points, joints, atol=1e-6)


def test_it_answers_with_its_page(viewer: Viewer) -> None:
    assert answer(viewer, "/").startswith(b"HTTP/1.1 200")
    assert viewer.url == f"http://127.0.0.1:{viewer.server.get_port()}"


@pytest.mark.parametrize("form", [
    "/../../../../../../../..{}", "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{}",
    "/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..{}", "/{}", "{}", "//{}", "/..\\..\\..\\..{}",
    "/%5c..%5c..%5c..%5c..{}", "/assets/../../../../../../../../../../../..{}",
    "http://127.0.0.1{}", "file://{}", "/%252e%252e/%252e%252e/%252e%252e{}", "/.//..//..//..{}",
])  # fmt: skip
def test_it_gives_no_file_of_the_machine(form: str, viewer: Viewer, folder: Path) -> None:
    for target in (folder.parent / "secret.txt", folder / "adapt.json", folder / "track.json"):
        said = answer(viewer, form.format(target))
        assert SECRET.encode() not in said
        assert b"s2hand.fitting.fusion" not in said
        assert b" 200 " not in said.partition(b"\r\n")[0]
    assert b"root:" not in answer(viewer, form.format("/etc/passwd"))


def test_only_this_machine_is_listened_to(viewer: Viewer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells our own address
        except OSError as error:
            pytest.skip(f"this machine has no network: {error}")
        own = probe.getsockname()[0]
    if is_local(own):
        pytest.skip(f"this machine has no address but {own}")
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((own, viewer.server.get_port()), timeout=2)


def test_nobody_can_put_the_page_on_the_internet(viewer: Viewer) -> None:
    assert viewer.server.request_share_url() is None
    assert viewer.server._share_tunnel is None


def test_texts_of_the_track_stay_texts(viewer: Viewer) -> None:
    facts = viewer._facts.content
    assert "<img" not in facts
    assert "&lt;img src=x onerror=alert(1)&gt;" in facts


def test_a_download_is_one_of_the_known_files_and_goes_to_who_asked(folder: Path) -> None:
    sent = []
    client = SimpleNamespace(send_file_download=lambda *a, **k: sent.append(a))
    _send(folder / "hand.bvh", SimpleNamespace(client=client))
    assert sent == [("hand.bvh", (folder / "hand.bvh").read_bytes())]


def test_the_slider_moves_the_hand(viewer: Viewer) -> None:
    track = viewer.video.track
    viewer._skeleton.value = True
    for frame, row in ((2, 2), (8, 6)):
        viewer._scrub(SimpleNamespace(client=object(), target=SimpleNamespace(value=frame)))
        joints = track["joints"][row] * [1, -1, -1]
        assert until(partial(are_at, viewer, joints))
        assert f"frame {frame}, {frame / 30:.2f} s, confidence" in viewer._status.content
    viewer._scrub(SimpleNamespace(client=object(), target=SimpleNamespace(value=GAP[0])))
    assert until(lambda: not viewer._hand._joints.visible)
    assert "no hand seen" in viewer._status.content
    viewer._skeleton.value = False


def test_a_visitor_cannot_leave_the_timeline(viewer: Viewer) -> None:
    viewer._scrub(SimpleNamespace(client=object(), target=SimpleNamespace(value=10**9)))
    assert until(lambda: f"frame {FRAMES - 1}," in viewer._status.content)
    viewer._speed.value = "0"
    viewer._set_playing(True)
    assert until(lambda: viewer.position < FRAMES - 1)
    viewer._set_playing(False)


def test_playing_goes_on_and_round(viewer: Viewer) -> None:
    viewer._speed.value = "2"
    seen = set()
    viewer._set_playing(True)
    assert until(lambda: seen.add(viewer._frame.value) or len(seen) > FRAMES // 2)
    assert viewer._play.label == "Pause"
    viewer._set_playing(False)
    assert viewer._play.label == "Play"


def test_playing_starts_where_it_was_left_however_long_ago(viewer: Viewer) -> None:
    viewer._speed.value = "0.1"
    begin = viewer.position
    time.sleep(1.5)  # more frames of the film than it has seconds
    viewer._set_playing(True)
    assert until(lambda: viewer.position != begin)
    viewer._set_playing(False)
    assert (viewer.position - begin) % FRAMES < 3  # the time before would be 4 and more


@pytest.mark.parametrize(("files", "pictures"), [
    (("track.npz", "overlay.mp4"), 1), (("track.npz",), 0), (("track.npz", "preview.mp4"), 2),
])  # fmt: skip
def test_old_folders_are_shown_with_what_they_have(
    files: tuple[str, ...], pictures: int, tmp_path: Path
) -> None:
    viewer = Viewer(read_predicted_video(write_track_folder(tmp_path / "out", files)), port=0)
    try:
        assert len(viewer._pictures.handles) == pictures
        assert viewer._hand._skins[0].visible
    finally:
        viewer.stop()


@pytest.mark.parametrize(("keep", "pictures"), [(0, 0), (60, 0), (-400, 0), (-1, 2)])
def test_a_broken_film_is_named_and_the_hand_is_shown_without(
    keep: int, pictures: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut short, as a full disk leaves it; a byte at its end is none that is needed."""
    folder = write_track_folder(tmp_path / "out", ("track.npz", "preview.mp4"))
    film = folder / "preview.mp4"
    film.write_bytes(film.read_bytes()[:keep])
    viewer = Viewer(read_predicted_video(folder), port=0)
    try:
        assert len(viewer._pictures.handles) == pictures
        assert viewer._hand._skins[0].visible
    finally:
        viewer.stop()
    assert (f"{film}" in caplog.text) == ("without pictures" in caplog.text) == (pictures == 0)


def test_a_film_of_odd_width_is_cut_in_the_middle(tmp_path: Path) -> None:
    folder = write_track_folder(tmp_path / "out", ("track.npz",))
    frame = np.zeros((40, 101, 3), np.uint8)
    frame[:, 50:] = 255
    write_video(folder / "preview.mp4", [frame] * FRAMES)
    left, right = Pictures(MagicMock(), read_predicted_video(folder), 0).read(0)
    assert left.shape == right.shape == (40, 50, 3)
    assert left[:, :45].max() < 60 < 200 < right[:, 5:].min()


def test_a_page_that_cannot_be_filled_leaves_no_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Viewer) -> None:
        raise MemoryError

    stopped: list[Viewer] = []
    stop = Viewer.stop
    monkeypatch.setattr(Viewer, "_add_files", fail)
    monkeypatch.setattr(Viewer, "stop", lambda self: (stopped.append(self), stop(self)))
    with pytest.raises(MemoryError):
        Viewer(read_predicted_video(folder), port=0)
    (viewer,) = stopped
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", viewer.server.get_port()), timeout=5)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1, port {port}: .*in use.*--port 0"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port", "said"), [
    ("127.0.0.1", 65536, "from 0 to 65535"), ("127.0.0.1", -1, "from 0 to 65535"),
    ("no.such.host.invalid", 80, "cannot listen at no.such.host.invalid"),
    ("192.0.2.1", 0, "cannot listen at 192.0.2.1"),
])  # fmt: skip
def test_an_address_that_cannot_be_is_said(host: str, port: int, said: str) -> None:
    with pytest.raises(OSError, match=said):
        check_address(host, port)


@pytest.mark.parametrize(("host", "local"), [
    ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False),
])  # fmt: skip
def test_who_can_reach_an_address(host: str, local: bool) -> None:
    assert is_local(host) == local
