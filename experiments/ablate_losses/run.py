"""Does each group of S2HAND's losses improve the result?

python -m experiments.ablate_losses.run            # run what is missing, then report
python -m experiments.ablate_losses.run --report    # only report
"""

from __future__ import annotations

from pathlib import Path

from experiments.study import Study, Trial, only_report

HERE = Path(__file__).parent
REGULARISERS = ["shape", "scale", "joint_angles", "laplacian", "pose_prior"]
BONES = ["bone_orientation"]
KEYPOINTS = ["estimator_2d", "consistency_2d"]
PIXELS = ["photometric", "mean_colour", "ssim", "texture"]
LADDER = {
    "joints": ["joint_location", *REGULARISERS],
    "bones": ["joint_location", *REGULARISERS, *BONES],
    "keypoints": ["joint_location", *REGULARISERS, *BONES, *KEYPOINTS],
    "pixels": ["joint_location", *REGULARISERS, *BONES, *KEYPOINTS, *PIXELS],
    "no_confidence": ["joint_location", *REGULARISERS, *BONES, *KEYPOINTS, *PIXELS],
}
METRICS = {
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "pa_mpvpe_mm": "PA-MPVPE, mm",
    "rr_mpjpe_mm": "RR, mm",
    "auc_pa_50mm": "AUC",
    "error_2d_px": "2D, px",
}


def training(row: str) -> list[str]:
    """Arguments of ``s2hand-train`` for a rung of the ladder."""
    arguments = ["experiment=synthetic_image", "data.train.size=12288", "data.test.size=1024"]
    arguments += ["trainer.max_steps=2000", "trainer.val_check_interval=1000"]
    arguments += [f"loss=[{','.join(LADDER[row])}]"]
    if row in ("joints", "bones"):
        arguments += ["model.network.keypoint_net=none"]
    if row == "no_confidence":
        arguments += ["augment=equal_confidence"]
    return arguments


if __name__ == "__main__":
    Study(
        HERE,
        [Trial(row, seed, training(row)) for seed in range(3) for row in LADDER],
        METRICS,
        plotted=["pa_mpjpe_mm", "rr_mpjpe_mm", "error_2d_px"],
    ).main(only_report(__doc__))
