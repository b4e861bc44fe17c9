"""Does S2HAND(V) make video consistent, and at what cost in accuracy?

python -m experiments.video_vs_image.run            # run what is missing, then report
python -m experiments.video_vs_image.run --report    # only report
"""

from __future__ import annotations

from pathlib import Path

from experiments.study import (
    BASE,
    MOTION,
    TEXTURE_SHAPE,
    VIDEO_METRICS,
    Study,
    Trial,
    fine_tuning,
    only_report,
)

HERE = Path(__file__).parent
ROWS: dict[str, tuple[list[str], str]] = {
    "fine_tuned": ([], "ablate_motion/none_s{seed}"),
    "motion": ([MOTION], f"ablate_motion/{MOTION}_s{{seed}}"),
    "texture_shape": (TEXTURE_SHAPE, ""),
    "both": ([MOTION, *TEXTURE_SHAPE], ""),
}
"""Temporal terms, and the study with the same training."""

if __name__ == "__main__":
    Study(
        HERE,
        [
            Trial("image", 0, [], [f"checkpoint={BASE}", "data=synthetic_video"]),
            *(
                Trial(row, seed, fine_tuning(terms), shared=shared.format(seed=seed))
                for row, (terms, shared) in ROWS.items()
                for seed in range(3)
            ),
            *(
                Trial("both_light", seed, fine_tuning(ROWS["both"][0], weight=2))
                for seed in range(3)
            ),
        ],
        VIDEO_METRICS,
        reference="fine_tuned",
        plotted=["pa_mpjpe_mm", "error_2d_px", "acceleration_error_pa_mm_frame2", "texture_sd"],
    ).main(only_report(__doc__))
