"""``s2hand-view``: the page, the file, and what it says instead."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.tracks import write_track_folder
from s2hand.cli import view
from s2hand.cli.view import main
from s2hand.view import page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_track_folder(tmp_path_factory.mktemp("view") / "out [bold] $$")


def stopped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from s2hand.view.server import Viewer

    def interrupt(_: Viewer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Viewer, "run", interrupt)


def test_the_page_says_where_it_is_and_ends_by_ctrl_c(folder: Path) -> None:
    command = [sys.executable, "-u", "-m", "s2hand.cli.view", str(folder), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs, and so tests run in one, are born deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            port = int(said.partition("http://127.0.0.1:")[2].partition(" ")[0])
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
            time.sleep(1)  # nobody is faster; until then it may be within the line it prints
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert said.endswith("in a browser; Ctrl-C ends it\n")
    assert (process.returncode, out.splitlines()[-1], error) == (0, "stopped", "")


def test_a_page_in_one_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "[red].html"
    assert main([str(folder), "--html", str(out)]) == 0
    assert "<title>out [bold] $$</title>" in out.read_text()
    size = out.stat().st_size / 1e6
    assert capsys.readouterr().out == f"page: {out}, {size:.1f} MB\n"


def test_it_says_who_else_can_see_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at_once(monkeypatch)
    assert main([str(folder), "--port", "0"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert main([str(folder), "--port", "0", "--host", "0.0.0.0"]) == 0
    said = capsys.readouterr().out
    assert "warning: anyone who can reach 0.0.0.0 sees this hand and its video" in said
    assert "open http://0.0.0.0:" in said


def test_help_says_who_could_speak_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "does not check which page of a browser connects to it" in said
    assert "any other page that is open in a browser of this machine could" in said
    assert "from this machine only, unless --host gives another address" in said


def test_ctrl_c_while_a_page_is_written_is_a_message(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupt(*_: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "write_viewer", interrupt)
    assert main([str(folder), "--html", str(tmp_path / "x.html")]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_busy_port_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main([str(folder), "--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: cannot listen at 127.0.0.1, port {port}: ")
    assert "--port 0 takes any free one" in message


@pytest.mark.parametrize("more", [[], ["--html", "x.html"]])
def test_no_track_is_an_error(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / "[bold]"
    assert main([str(name), *more]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {name} is not a folder: make one with\n  s2hand-video VIDEO")


def test_without_viser_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.delitem(sys.modules, "s2hand.view.server", raising=False)
    assert main([str(folder)]) == 1
    assert capsys.readouterr().err == "error: viser is missing: pip install 's2hand[view]'\n"
    assert "viser" not in vars(view)
