"""``s2hand-score``: the official numbers of valid files, the reason of invalid ones."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.freihand import FreiHandTree
from fixtures.ho3d import OPENGL, ORDER, Ho3dTree
from fixtures.runs import run_command
from s2hand.cli.evaluate import main as evaluate
from s2hand.cli.score import main
from s2hand.metric.leaderboard import write_freihand, write_ho3d

K = [[480.0, 0, 112.0], [0, 480.0, 112.0], [0, 0, 1]]


def golden(points: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted points of the table of official scores."""
    k = np.arange(5 * points * 3).reshape(5, points, 3).astype(float)
    depth = np.array([0, 0, 0.6])
    if points == 21:
        true = 0.05 * np.sin(1.7 * k + 0.013 * k**2 + 0.3) + depth
        wave = 0.03 * np.cos(2.3 * k + 0.007 * k**2)
        return true, 1.1 * true + wave + np.array([0.02, -0.01, 0.05])
    true = 0.05 * np.sin(0.37 * k + 0.013 * k**2 + 0.3) + depth
    return true, true + 0.012 * np.cos(1.9 * k + 0.007 * k**2) + np.array([0.001, 0, -0.002])


GOLDEN = {
    "mpjpe_mm": 119.864606951, "auc_joints_0_50mm": 0.0, "pa_mpjpe_mm": 26.758249419,
    "pa_auc_joints_0_50mm": 0.465897065897, "mpvpe_mm": 14.388871879,
    "auc_mesh_0_50mm": 0.712201708603, "pa_mpvpe_mm": 13.764736219,
    "pa_auc_mesh_0_50mm": 0.724722806471, "f5": 0.276508368562, "f15": 0.971724482957,
    "pa_f5": 0.313062020741, "pa_f15": 0.983133040904,
}  # fmt: skip


@pytest.mark.parametrize("dataset", ["freihand", "ho3d"])
def test_the_official_scripts_golden_values(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (joints, predicted), (vertices, predicted_vertices) = golden(21), golden(778)
    truth = {"xyz": joints, "verts": vertices}
    if dataset == "ho3d":
        truth = {"xyz": (joints * OPENGL)[:, ORDER], "verts": vertices * OPENGL}
        (tmp_path / "evaluation.txt").write_text("".join(f"SM1/{i:04d}\n" for i in range(5)))
    else:
        (tmp_path / "evaluation_K.json").write_text(json.dumps([K] * 5))
    for name, values in truth.items():
        (tmp_path / f"evaluation_{name}.json").write_text(json.dumps(values.tolist()))
    write = write_ho3d if dataset == "ho3d" else write_freihand
    write(tmp_path / "pred.zip", predicted, predicted_vertices, 5)
    arguments = ["--dataset", dataset, "--root", str(tmp_path)]
    assert main([str(tmp_path / "pred.zip"), *arguments]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["frames"] == 5
    # The file has seven decimals; a mean of distances keeps five of the millimetres'.
    assert report["scores"] == pytest.approx(report["scores"] | GOLDEN, abs=2e-4)
    assert ("st_mpjpe_mm" in report["scores"]) is (dataset == "ho3d")
    said = capsys.readouterr().out
    assert "119.865" in said
    assert "scores.json" in said


def test_it_agrees_with_the_evaluation_of_the_same_checkpoint(
    smoke_run: Path, freihand: FreiHandTree, tmp_path: Path
) -> None:
    arguments = [f"checkpoint={smoke_run / 'checkpoints' / 'last.ckpt'}", f"out={tmp_path}"]
    arguments += ["data=freihand", f"dataset.root={freihand.root}", "examples=1", "pred_json=true"]
    arguments += ["data.num_workers=0", "data.test.image_px=64"]
    assert run_command(evaluate, *arguments) == 0
    measured = json.loads((tmp_path / "metrics.json").read_text())["metrics"]["model"]
    measured = {k.removeprefix("freihand/"): v for k, v in measured.items() if "/" in k}
    out = tmp_path / "elsewhere" / "mine.json"
    command = [str(tmp_path / "pred.json"), "--dataset", "freihand", "--root", str(freihand.root)]
    assert main([*command, "--out", str(out)]) == 0
    scores = json.loads(out.read_text())["scores"]
    assert scores == pytest.approx(measured, rel=1e-3, abs=1e-3)
    assert not (tmp_path / "scores.json").exists()


def test_the_truth_itself_scores_nothing_but_ones(ho3d: Ho3dTree, tmp_path: Path) -> None:
    frames = [ho3d.frames[name] for name in ho3d.evaluation]
    joints, vertices = (np.stack([getattr(f, n) for f in frames]) for n in ("joints", "vertices"))
    write_ho3d(tmp_path / "pred.json", joints, vertices, len(frames))
    command = [str(tmp_path / "pred.json"), "--dataset", "ho3d", "--root", str(ho3d.root)]
    assert main(command) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    for name, value in scores.items():
        assert value == pytest.approx(0 if name.endswith("pe_mm") else 1, abs=0.02), name


def test_without_truth_it_only_checks(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluation_K.json").write_text(json.dumps([K] * 6))
    joints, vertices = freihand.evaluation_joints, freihand.evaluation_vertices
    write_freihand(tmp_path / "pred.json", joints, vertices, 6)
    command = [str(tmp_path / "pred.json"), "--dataset", "freihand", "--root", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "valid, 6 frames of evaluation_K.json" in said
    assert "not scored" in said
    assert not (tmp_path / "scores.json").exists()


def _hands(ho3d: Ho3dTree) -> tuple[np.ndarray, np.ndarray]:
    frames = [ho3d.frames[name] for name in ho3d.evaluation]
    return np.stack([f.joints for f in frames]), np.stack([f.vertices for f in frames])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j, v: (j[:3], v[:3]), r"joints have shape \(3, 21, 3\), .*\(8, 21, 3\)"),
        (lambda j, v: (j, v[:3]), r"vertices have shape \(3, 778, 3\)"),
        (lambda j, v: (1000 * j, 1000 * v), "divide millimetres by 1000"),
        (lambda j, v: (j * OPENGL, v * OPENGL), "behind the camera: give HO-3D's axes"),
        (lambda j, v: (j, v * OPENGL), "median depth of vertices"),
        (lambda j, v: (j, v - v[:, :1] + np.array([0, 0, 0.3])), "are .* m apart"),
        (lambda j, v: (j, v + np.array([0.5, 0, 0])), r"joints and vertices are 0\.5.* m apart"),
        (lambda j, v: (j[:, np.argsort(ORDER)], v), "look like the order 'common', not ho3d's"),
        (lambda j, v: (np.where(j > 0.6, np.nan, j), v), "joints of frames .* are not finite"),
    ],
)
def test_what_the_leaderboard_would_score_as_nonsense_is_refused(
    ho3d: Ho3dTree,
    tmp_path: Path,
    change: Callable[[np.ndarray, np.ndarray], Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each file is HO-3D's own form but for one thing."""
    joints, vertices = change(*_hands(ho3d))
    lists = [(joints * OPENGL)[:, ORDER].tolist(), (vertices * OPENGL).tolist()]
    (tmp_path / "pred.json").write_text(json.dumps(lists))
    command = [str(tmp_path / "pred.json"), "--dataset", "ho3d", "--root", str(ho3d.root)]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "pred.json: " in said
    with pytest.raises(ValueError, match=message):
        raise ValueError(said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a list of"),
        ("{}", "is not a list of"),
        ("[[[1, 2, 3]]]", r"joints, sample 0 \(expected \(21, 3\)\)"),
        ("[[", "empty, or cut short"),
        ("[" + json.dumps([[[0.0] * 3] * 21]) + "]", "ends after the joints"),
        ("[" + json.dumps([[[0.0] * 3] * 21]) + ", [[[1]]]]", r"vertices, sample 0"),
        ("\xff", "pred.json"),
    ],
)
def test_other_files_are_refused(
    freihand: FreiHandTree,
    tmp_path: Path,
    text: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "pred.json").write_text(text, encoding="latin1")
    command = ["--dataset", "freihand", "--root", str(freihand.root)]
    assert main([str(tmp_path / "pred.json"), *command]) == 1
    said = capsys.readouterr().err
    with pytest.raises(ValueError, match=message):
        raise ValueError(said)


def test_zips_hold_the_one_file(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--dataset", "freihand", "--root", str(freihand.root)]
    with zipfile.ZipFile(tmp_path / "pred.zip", "w") as archive:
        archive.writestr("run/pred.json", "[]")
    assert main([str(tmp_path / "pred.zip"), *command]) == 1
    assert "holds ['run/pred.json']; the leaderboards take pred.json alone" in (
        capsys.readouterr().err
    )
    (tmp_path / "pred.zip").write_bytes(b"PK no zip")
    assert main([str(tmp_path / "pred.zip"), *command]) == 1
    assert "pred.zip: File is not a zip file" in capsys.readouterr().err
    assert main([str(tmp_path / "none.json"), *command]) == 1
    assert "none.json: no such file" in capsys.readouterr().err


def test_the_split_must_be_known_and_the_truth_whole(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joints, vertices = freihand.evaluation_joints, freihand.evaluation_vertices
    write_freihand(tmp_path / "pred.json", joints, vertices, 6)
    command = [str(tmp_path / "pred.json"), "--dataset", "freihand", "--root", str(tmp_path)]
    assert main(command) == 1
    assert "evaluation_K.json: no such file; --root is the folder" in capsys.readouterr().err
    (tmp_path / "evaluation_K.json").write_text(json.dumps([K] * 6))
    (tmp_path / "evaluation_xyz.json").write_text(json.dumps(joints[:5].tolist()))
    (tmp_path / "evaluation_verts.json").write_text(json.dumps(vertices.tolist()))
    assert main(command) == 1
    assert "evaluation_xyz.json has 5 frames, the split 6" in capsys.readouterr().err
    (tmp_path / "evaluation_xyz.json").write_text(json.dumps((joints * OPENGL).tolist()))
    assert main(command) == 1
    assert "OpenGL axes given as OpenCV" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "evaluation.txt" in said
    assert "errors in mm (the leaderboards print cm)" in said
