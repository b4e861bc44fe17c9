"""A local web page of a hand through a video; the only module that imports viser.

Visitors' actions set the wanted state; the thread of :meth:`Viewer.run` shows the latest. All
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
from s2hand.view.predicted_video import KNOWN_FILES, PredictedVideo
from s2hand.view.scene import HandScene

try:
    import viser
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("viser is missing: pip install 's2hand[view]'") from error

_SPEEDS = {"0.1": 0.1, "0.25": 0.25, "0.5": 0.5, "1": 1.0, "2": 2.0}
_TEXT = '<div style="padding: 0 .9em; font-size: .85em">{}</div>'


class _Server(viser.ViserServer):
    """A server without viser's tunnel, with which any visitor could publish the page."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


class Viewer:
    """Serves the page of one video at an address until :meth:`stop`.

    Args:
        video: the video to show.
        host: address to listen at; ``127.0.0.1`` is reachable from this machine only.
        port: 0 takes any free one.

    Raises:
        OSError: naming host and port, if the server cannot listen there.
    """

    def __init__(self, video: PredictedVideo, host: str = "127.0.0.1", port: int = 8080) -> None:
        check_address(host, port)
        self.video = video
        self.playing, self.position = False, float(np.argmax(video.rows >= 0))
        self._changed = threading.Event()
        # Browsers open connections and never use them; that should not log a traceback.
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
        """The address of the page."""
        host = self.server.get_host()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.get_port()}"

    def run(self) -> None:
        """Show what visitors ask for, until interrupted."""
        before = time.monotonic()
        while True:
            now = time.monotonic()
            speed = self.video.fps * _SPEEDS.get(self._speed.value, 1.0)
            if self.playing:
                self.position += (now - before) * speed
                self.position %= len(self.video.rows)
            before = now
            self._show(int(self.position))
            left = (1 - self.position % 1) / speed - (time.monotonic() - now)
            playing = self.playing
            self._changed.wait(max(left, 0.0) if playing else None)
            self._changed.clear()
            if not playing:  # a pause does not advance the film
                before = time.monotonic()

    def stop(self) -> None:
        """Stop serving."""
        with redirect_stdout(io.StringIO()):
            self.server.stop()

    def _fill(self) -> None:
        """Build the page in its first state."""
        gui, frame = self.server.gui, int(self.position)
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="large")
        gui.main_panel.dock_right()
        self._hand = HandScene(self.server, self.video.track, self.video.rows[frame])
        self._add_controls()
        self._plot = Plot(gui, self.video)
        self._pictures = Pictures(gui, self.video, frame)
        self._add_files()
        self._show(frame)

    def _add_controls(self) -> None:
        gui, last = self.server.gui, len(self.video.rows) - 1
        self._frame: Any = gui.add_slider(
            "Frame", 0, max(last, 1), 1, int(self.position), disabled=last == 0
        )
        self._play = gui.add_button("Play")
        self._speed = gui.add_dropdown("Speed", tuple(_SPEEDS), initial_value="1")
        self._wireframe = gui.add_checkbox("Wireframe", False)
        self._skeleton = gui.add_checkbox("Joints", False)
        self._follow = gui.add_checkbox("Follow", True)
        self._status = gui.add_html("")
        self._frame.on_update(self._scrub)
        self._play.on_click(lambda _: self._set_playing(not self.playing))
        for control in (self._speed, self._wireframe, self._skeleton, self._follow):
            control.on_update(lambda _: self._changed.set())

    def _add_files(self) -> None:
        with self.server.gui.add_folder("Files"):
            for name, path in self.video.files.items():
                kilobytes = -(-path.stat().st_size // 1000)
                button = self.server.gui.add_button(
                    name, hint=f"{KNOWN_FILES[name]}, {kilobytes} kB"
                )
                button.on_click(partial(_send, path))
            facts = "".join(
                f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
                for name, value in self.video.facts.items()
            )
            self._facts = self.server.gui.add_html(_TEXT.format(f"<table>{facts}</table>"))

    def _scrub(self, event: viser.GuiEvent[Any]) -> None:
        if event.client is not None:  # None where _show set the slider
            self.position = float(np.clip(event.target.value, 0, len(self.video.rows) - 1))
            self._set_playing(False)

    def _set_playing(self, on: bool) -> None:
        self.playing = on
        self._play.label = "Pause" if on else "Play"
        self._changed.set()

    def _show(self, frame: int) -> None:
        """Show one frame of the timeline."""
        video, row = self.video, int(self.video.rows[frame])
        status = f"frame {frame * video.track['frame_step']}, {frame / video.fps:.2f} s"
        if row < 0:
            status += ", no hand seen"
        else:
            confidence, error = (video.track[k][row] for k in ("confidence", "error_2d_px"))
            status += f", confidence {confidence:.2f}, 2D error {error:.1f} px"
        pictures = self._pictures.read(frame)
        with self.server.atomic():
            if self.playing:  # do not move a slider that a visitor drags
                self._frame.value = frame
            self._status.content = _TEXT.format(status)
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
