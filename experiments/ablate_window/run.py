"""How long should a window be, and how far apart its frames?

python -m experiments.ablate_window.run            # run what is missing, then report
python -m experiments.ablate_window.run --report    # only report
"""

from __future__ import annotations

from pathlib import Path

from experiments.study import (
    MOTION,
    TEXTURE_SHAPE,
    VIDEO_METRICS,
    Study,
    Trial,
    fine_tuning,
    only_report,
)

HERE = Path(__file__).parent
FRAMES_PER_STEP = 40
WINDOWS = {
    "n1": (1, 1),
    "n3": (3, 1),
    "n5": (5, 1),
    "n9": (9, 1),
    "n3_stride2": (3, 2),
    "n5_stride2": (5, 2),
    "n3_stride4": (3, 4),
}
"""Frames and stride; n3_stride2 spans as many frames as n5, the last two as many as n9."""


def windowed(frames: int, stride: int) -> list[str]:
    """Fine-tuning on such windows, with about the same number of frames per step."""
    terms = [MOTION, *TEXTURE_SHAPE] if frames > 1 else []
    batch = round(FRAMES_PER_STEP / frames)
    window = [f"window.frames={frames}", f"window.stride={stride}", f"data.batch_size={batch}"]
    return [*fine_tuning(terms), *window]


if __name__ == "__main__":
    Study(
        HERE,
        [
            Trial(
                row,
                seed,
                windowed(*window),
                shared=f"video_vs_image/both_s{seed}" if window == (5, 1) else "",
            )
            for row, window in WINDOWS.items()
            for seed in range(2)
        ],
        VIDEO_METRICS,
        reference="n1",
        plotted=["pa_mpjpe_mm", "error_2d_px", "acceleration_error_pa_mm_frame2", "texture_sd"],
    ).main(only_report(__doc__))
