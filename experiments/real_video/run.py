"""The image model against the video model, fitted to the same frames of one person's real video.

python -m experiments.real_video.run hand.mp4 hand.json   # run what is missing, then report
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.study import FRAME_LOSSES, MOTION, TEXTURE_SHAPE, Study, Trial

HERE = Path(__file__).parent
METRICS = {
    "error_2d_confident_px": "2D of confident keypoints, px",
    "error_2d_px": "2D, px",
    "jitter_root_mm_frame2": "jitter RR, mm/frame²",
    "jitter_camera_mm_frame2": "jitter in the camera, mm/frame²",
    "texture_sd": "texture sd",
    "bone_sd_mm": "bone length sd, mm",
    "shape_sd": "betas sd",
}


def fitting(source: str, detections: str, terms: list[str]) -> list[str]:
    """``s2hand-train`` on clips of five frames; frames and steps do not depend on the terms."""
    data = [f"dataset.source={source}", f"dataset.detections={detections}"]
    window = ["window=clip5", "data.batch_size=8"]
    return ["experiment=own_video", *data, *window, f"loss=[{','.join((*FRAME_LOSSES, *terms))}]"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="the video")
    parser.add_argument("detections", help="its 2D detections")
    given = parser.parse_args()
    temporal = fitting(given.source, given.detections, [MOTION, *TEXTURE_SHAPE])
    rows = {
        "image": fitting(given.source, given.detections, []),
        "video": [*temporal, f"loss.{MOTION}.weight=5"],
        "video_light": [*temporal, f"loss.{MOTION}.weight=2"],
    }
    study = Study(
        HERE,
        [Trial(row, 0, arguments) for row, arguments in rows.items()],
        METRICS,
        reference="image",
        plotted=["error_2d_confident_px", "jitter_root_mm_frame2", "texture_sd"],
    )
    for trial in study.trials:
        study.run(trial)
    study.report()
