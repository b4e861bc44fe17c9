from __future__ import annotations

import pickle
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from fixtures.mano_pickles import write_mano_pickle
from s2hand.cli.mano import main
from s2hand.hand.model_file import load_hand_model


@pytest.fixture
def mano_file(tmp_path):
    return write_mano_pickle(load_hand_model(), tmp_path / "MANO_RIGHT.pkl")


def test_converts_next_to_the_file(mano_file, capsys):
    assert main([str(mano_file)]) == 0
    converted = load_hand_model(mano_file.with_suffix(".npz"))
    assert converted.fingerprint == load_hand_model(mano_file).fingerprint
    assert converted.fingerprint in capsys.readouterr().out
    assert {p.name for p in mano_file.parent.iterdir()} == {"MANO_RIGHT.pkl", "MANO_RIGHT.npz"}


def test_converts_to_a_place_of_choice(mano_file, tmp_path):
    target = tmp_path / "models" / "right.npz"
    assert main([str(mano_file), "-o", str(target)]) == 0
    assert load_hand_model(target).name == "right"


def test_a_left_file_is_told_by_its_name_and_its_sign_fixed(tmp_path):
    right = load_hand_model()
    left = replace(right, v_template=right.v_template * [-1, 1, 1], side="left")
    path = write_mano_pickle(left, tmp_path / "MANO_LEFT.pkl")
    assert main([str(path)]) == 0
    fixed = load_hand_model(tmp_path / "MANO_LEFT.npz", "left")
    np.testing.assert_array_equal(fixed.shapedirs[:, 0], -left.shapedirs[:, 0])
    assert main([str(path), "--keep-left-shapedirs"]) == 0
    kept = load_hand_model(tmp_path / "MANO_LEFT.npz", "left")
    np.testing.assert_array_equal(kept.shapedirs, left.shapedirs)


def test_a_hostile_file_is_refused_by_name_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps({"v_template": mock.call}, 2))
    assert main([str(path)]) == 1
    assert "unittest.mock" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["MANO_RIGHT.pkl"]


def test_an_interrupted_conversion_leaves_the_old_file(mano_file, monkeypatch):
    assert main([str(mano_file)]) == 0
    before = mano_file.with_suffix(".npz").read_bytes()

    def half_a_file(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", half_a_file)
    assert main([str(mano_file)]) == 1
    assert mano_file.with_suffix(".npz").read_bytes() == before
    assert len(list(mano_file.parent.iterdir())) == 2


def test_a_missing_file_says_where_to_get_it(tmp_path, capsys):
    assert main([str(tmp_path / "MANO_RIGHT.pkl")]) == 1
    assert "https://mano.is.tue.mpg.de" in capsys.readouterr().err


def test_only_an_earlier_conversion_is_replaced_unasked(mano_file, capsys):
    npz = mano_file.with_suffix(".npz")
    npz.write_bytes(b"mine")
    assert main([str(mano_file)]) == 1
    assert f"{npz} exists and is not an earlier result" in capsys.readouterr().err
    assert npz.read_bytes() == b"mine"
    assert main([str(mano_file), "-o", str(npz)]) == 0, "named by the user"
    assert main([str(mano_file)]) == 0


@pytest.mark.parametrize(
    ("output", "reason"),
    [("hand.pkl", "the result is a .npz"), ("same", "MANO_RIGHT.npz would replace the input")],
)
def test_outputs_that_cannot_be_are_refused(mano_file, capsys, output, reason):
    assert main([str(mano_file)]) == 0
    npz = mano_file.with_suffix(".npz")
    source, target = (npz, npz) if output == "same" else (mano_file, output)
    assert main([str(source), "-o", str(target)]) == 1
    assert reason in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for part in ("https://mano.is.tue.mpg.de", "hand=open", "MANO_PATH", "example"):
        assert part in text
