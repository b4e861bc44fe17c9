"""A hand through a video in the browser, served by this machine: the only place that knows viser.

What visitors do sets wishes; one thread, that of :meth:`Viewer.run`, shows the latest of them. All
visitors see the same frame, each with a camera of their own.
"""

from __future__ import annotations

import html
import io
import logging
import threading
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from s2hand.view.address import check_address
from s2hand.view.beside import Pictures, Plot
from s2hand.view.recording import KNOWN_FILES, Recording
from s2hand.view.scene import HandScene

try:
    import viser
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("viser is missing: pip install 's2hand[view]'") from error

_SPEEDS = {"0.1": 0.1, "0.25": 0.25, "0.5": 0.5, "1": 1.0, "2": 2.0}
_TEXT = '<div style="padding: 0 .9em; font-size: .85em">{}</div>'


class _Server(viser.ViserServer):
    """Without viser's tunnel, through which any visitor could put the page on the internet."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


class Viewer:
    """The page of one recording, at an address, until :meth:`stop`.

    Args:
        recording: what to show.
        host: address to listen at; ``127.0.0.1`` is this machine's own.
        port: 0 takes any that is free.

    Raises:
        OSError: naming host and port, if one cannot listen there.
    """

    def __init__(self, recording: Recording, host: str = "127.0.0.1", port: int = 8080) -> None:
        check_address(host, port)
        self.recording = recording
        self.playing, self.position = False, float(np.argmax(recording.rows >= 0))
        self._changed = threading.Event()
        # Browsers open connections that they never use: no reason for a traceback.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        with redirect_stdout(io.StringIO()):  # viser's banner takes 0.0.0.0 for localhost
            self.server = _Server(host, port, label="s2hand", verbose=False)
        try:
            self._fill()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Where the page is."""
        host = self.server.get_host()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.get_port()}"

    def run(self) -> None:
        """Show what visitors ask for, until interrupted."""
        before = time.monotonic()
        while True:
            now = time.monotonic()
            speed = self.recording.fps * _SPEEDS.get(self._speed.value, 1.0)
            if self.playing:
                self.position += (now - before) * speed
                self.position %= len(self.recording.rows)
            before = now
            self._show(int(self.position))
            left = (1 - self.position % 1) / speed - (time.monotonic() - now)
            playing = self.playing
            self._changed.wait(max(left, 0.0) if playing else None)
            self._changed.clear()
            if not playing:  # the time that nothing played is no time of the film
                before = time.monotonic()

    def stop(self) -> None:
        """End the page."""
        with redirect_stdout(io.StringIO()):
            self.server.stop()

    def _fill(self) -> None:
        """Everything that is on the page, as it is at first."""
        gui, frame = self.server.gui, int(self.position)
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="large")
        gui.main_panel.dock_right()
        self._hand = HandScene(self.server, self.recording.track, self.recording.rows[frame])
        self._add_controls()
        self._plot = Plot(gui, self.recording)
        self._pictures = Pictures(gui, self.recording, frame)
        self._add_files()
        self._show(frame)

    def _add_controls(self) -> None:
        gui, last = self.server.gui, len(self.recording.rows) - 1
        self._frame: Any = gui.add_slider(
            "Frame", 0, max(last, 1), 1, int(self.position), disabled=last == 0
        )
        self._play = gui.add_button("Play")
        self._speed = gui.add_dropdown("Speed", tuple(_SPEEDS), initial_value="1")
        self._wireframe = gui.add_checkbox("Wireframe", False)
        self._skeleton = gui.add_checkbox("Joints", False)
        self._follow = gui.add_checkbox("Follow", True)
        self._said = gui.add_html("")
        self._frame.on_update(self._scrub)
        self._play.on_click(lambda _: self._set_playing(not self.playing))
        for control in (self._speed, self._wireframe, self._skeleton, self._follow):
            control.on_update(lambda _: self._changed.set())

    def _add_files(self) -> None:
        with self.server.gui.add_folder("Files"):
            for name, path in self.recording.files.items():
                kilobytes = -(-path.stat().st_size // 1000)
                button = self.server.gui.add_button(
                    name, hint=f"{KNOWN_FILES[name]}, {kilobytes} kB"
                )
                button.on_click(partial(_send, path))
            facts = "".join(
                f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
                for name, value in self.recording.facts.items()
            )
            self._facts = self.server.gui.add_html(_TEXT.format(f"<table>{facts}</table>"))

    def _scrub(self, event: viser.GuiEvent[Any]) -> None:
        if event.client is not None:  # not _show, which sets the slider, too
            self.position = float(np.clip(event.target.value, 0, len(self.recording.rows) - 1))
            self._set_playing(False)

    def _set_playing(self, on: bool) -> None:
        self.playing = on
        self._play.label = "Pause" if on else "Play"
        self._changed.set()

    def _show(self, frame: int) -> None:
        """Everything at one frame of the timeline."""
        recording, row = self.recording, int(self.recording.rows[frame])
        said = f"frame {frame * recording.track['frame_step']}, {frame / recording.fps:.2f} s"
        if row < 0:
            said += ", no hand seen"
        else:
            confidence, error = (recording.track[k][row] for k in ("confidence", "error_2d_px"))
            said += f", confidence {confidence:.2f}, 2D error {error:.1f} px"
        pictures = self._pictures.read(frame)
        with self.server.atomic():
            if self.playing:  # a visitor who drags the slider has it where it is
                self._frame.value = frame
            self._said.content = _TEXT.format(said)
            self._plot.show(frame, row >= 0)
            self._pictures.show(pictures)
        self._hand.show(
            row,
            wireframe=self._wireframe.value,
            skeleton=self._skeleton.value,
            follow=self._follow.value,
        )


def _send(path: Path, event: viser.GuiEvent[Any]) -> None:
    if event.client is not None:
        event.client.send_file_download(path.name, path.read_bytes(), save_immediately=True)
