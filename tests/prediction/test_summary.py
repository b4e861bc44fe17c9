"""A track in numbers: one 2D error for the console, the file and the page; units; gaps."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from s2hand.fitting.fusion import Span
from s2hand.hand.mano import ManoHead
from s2hand.prediction.summary import TrackSummary, counted, summarise
from s2hand.prediction.track_files import track_facts

FRAMES = 4
SPAN = Span(range(5), np.array([0, 1, 2, 4]), np.arange(FRAMES), np.arange(FRAMES) / 24, 24.0)


def dataset(confidence: np.ndarray) -> Any:
    return SimpleNamespace(confidence=torch.from_numpy(confidence), every=1)


def test_one_error_for_the_console_and_for_the_file() -> None:
    """Pooled over joints: a frame with few sure joints counts less, unsure ones do not at all."""
    confidence, errors = np.full((FRAMES, 21), 0.9), np.full((FRAMES, 21), 3.0, np.float32)
    confidence[0, 2:] = 0.4
    errors[0] = 31.0
    data = dataset(confidence)
    expected = (2 * 31 + 63 * 3) / 65
    joints = np.zeros((FRAMES, 21, 3), np.float32)
    assert summarise(data, SPAN, joints, errors).error_2d_mean_px == pytest.approx(expected)
    facts = track_facts(ManoHead("open"), data, SPAN, errors, 0.0)
    assert facts["error_2d_confident_px"] == pytest.approx(expected)


def test_where_no_joint_is_sure_there_is_no_error() -> None:
    data, errors = dataset(np.full((FRAMES, 21), 0.5)), np.ones((FRAMES, 21), np.float32)
    summary = summarise(data, SPAN, np.zeros((FRAMES, 21, 3), np.float32), errors)
    assert summary.error_2d_mean_px is None
    assert "error_2d_confident_px" not in track_facts(ManoHead("open"), data, SPAN, errors, 0.0)


def test_the_table_speaks_of_frames_alone() -> None:
    """Seconds would say of one hand 900 times as much at 30 frames per second, 100 at 10."""
    summary = TrackSummary(9, 1, 1, 4.5, 4.0, 0.95, 855.0)
    console = Console(record=True, width=100, file=StringIO())
    console.print(summary.table())
    said = console.export_text()
    assert "0.95 mm/frame²" in said
    assert "mm/s²" not in said
    assert "1 (1 frame)" in said
    console.print(replace(summary, gaps=2, missing_frames=3).table())
    assert "2 (3 frames)" in console.export_text()


def test_one_is_no_plural() -> None:
    assert [counted(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
