"""Panels of the local page beside its hand: the pictures of the film, and the plot."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from jaxtyping import UInt8

from s2hand.data.frames.decode import FilmReader
from s2hand.view.predicted_video import PredictedVideo

_PLOT_POINTS = 1000  # longer videos are sampled
_log = logging.getLogger(__name__)


class Pictures:
    """Input and overlay, the overlay alone, or nothing, depending on the video's film.

    A film that cannot be read gives a warning that names it; the hand is still shown.

    Args:
        gui: of a ``viser.ViserServer``.
        video: the video with the film.
        frame: frame of the timeline that is shown first.
    """

    def __init__(self, gui: Any, video: PredictedVideo, frame: int) -> None:
        self._film, self._halves = None, 0
        film = video.film
        if film is not None:
            try:
                self._film, self._halves = FilmReader(film.path), film.halves
            except ValueError as error:
                _log.warning("%s: shown without pictures; predict again to get them", error)
        labels = ("Input", "Overlay")[2 - self._halves :]
        self.handles = [
            gui.add_image(half, label=label)
            for half, label in zip(self.read(frame), labels, strict=True)
        ]

    def read(self, frame: int) -> list[UInt8[np.ndarray, "h w 3"]]:
        """The pictures of a frame, grey where the film does not have it."""
        if self._film is None:
            return []
        try:
            picture = np.asarray(self._film[frame])
        except (IndexError, ValueError):  # cut short or damaged
            picture = np.full((2, 4, 3), 230, np.uint8)
        width = picture.shape[1] // self._halves
        return [picture[:, i * width : (i + 1) * width] for i in range(self._halves)]

    def show(self, pictures: list[UInt8[np.ndarray, "h w 3"]]) -> None:
        """Put the pictures of :meth:`read` on the page."""
        for handle, picture in zip(self.handles, pictures, strict=True):
            handle.image = picture


class Plot:
    """Confidence and 2D error over the timeline, and a point at the current frame.

    Args:
        gui: of a ``viser.ViserServer``.
        video: the video with the track.
    """

    def __init__(self, gui: Any, video: PredictedVideo) -> None:
        track, rows = video.track, video.rows
        n = len(rows)
        self._samples = np.unique(np.linspace(0, n - 1, min(n, _PLOT_POINTS)).round().astype(int))
        at = rows[self._samples]
        seen = at >= 0
        # Without a hand the confidence is 0 and the error is undefined.
        confidence = np.where(seen, track["confidence"][at], 0)
        error = np.where(seen, track["error_2d_px"][at], np.nan)
        self._curves = (self._samples / video.fps, confidence, error)
        top = float(np.nanmax(error, initial=1.0))
        self._handle = gui.add_uplot(
            (*self._curves, confidence),
            (
                {"label": "s"},
                {"label": "confidence", "stroke": "#1f6f78", "width": 1.5, "scale": "y"},
                {"label": "2D error, px", "stroke": "#c05f3c", "width": 1.5, "scale": "px"},
                {"label": "now", "scale": "y", "stroke": "#26292b",
                 "points": {"show": True, "size": 9, "fill": "#26292b"}},
            ),
            scales={"x": {"time": False}, "y": {"range": (0, 1.05)}, "px": {"range": (0, top)}},
            axes=({}, {"scale": "y"}, {"scale": "px", "side": 1, "grid": {"show": False}}),
            legend={"show": False},
            aspect=2.2,
        )  # fmt: skip

    def show(self, frame: int, hand: bool) -> None:
        """Move the point to a frame; hide it where no hand is seen."""
        now = np.full(len(self._samples), np.nan)
        if hand:
            sample = int(np.abs(self._samples - frame).argmin())
            now[sample] = self._curves[1][sample]
        self._handle.data = (*self._curves, now)
