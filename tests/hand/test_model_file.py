from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from fixtures.mano_pickles import write_mano_pickle
from s2hand.hand import model_file
from s2hand.hand.model_file import HandModel, load_hand_model, save_hand_model

ARRAYS = ("v_template", "faces", "weights", "shapedirs", "posedirs", "J_regressor", "parents")
ARRAYS += ("hands_components", "hands_mean", "hands_coeffs")


@pytest.fixture(scope="module")
def right() -> HandModel:
    return load_hand_model()


@pytest.fixture
def left(right) -> HandModel:
    """A left hand whose shape directions carry the published sign error."""
    mirror = np.array([-1.0, 1.0, 1.0])
    return replace(right, v_template=right.v_template * mirror, side="left", name="MANO_LEFT")


def _npz(path, model, **changes):
    save_hand_model(model, path)
    with np.load(path) as content:
        arrays = {**content, **changes}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_open_is_the_embedded_hand(right):
    assert (right.name, right.side) == ("open", "right")
    assert load_hand_model(None).fingerprint == right.fingerprint
    assert right.v_template.dtype == np.float64
    assert right.faces.dtype == np.int64
    assert right.parents.tolist()[:5] == [-1, 0, 1, 2, 0]


def test_a_pickle_and_its_npz_are_the_same_hand(right, tmp_path):
    original = load_hand_model(write_mano_pickle(right, tmp_path / "MANO_RIGHT.pkl"))
    save_hand_model(original, tmp_path / "MANO_RIGHT.npz")
    converted = load_hand_model(str(tmp_path / "MANO_RIGHT.npz"))
    assert original.name == converted.name == "MANO_RIGHT"
    assert original.fingerprint == converted.fingerprint == right.fingerprint
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(original, name), getattr(right, name))
        np.testing.assert_array_equal(getattr(converted, name), getattr(right, name))
    assert converted.albedo is None


def test_the_npz_serves_smplx_too(right, tmp_path):
    import smplx

    save_hand_model(right, tmp_path / "MANO_RIGHT.npz")
    other = smplx.MANO(str(tmp_path / "MANO_RIGHT.npz"), ext="npz", num_pca_comps=30)
    np.testing.assert_allclose(other.v_template.numpy(), right.v_template, atol=1e-7)


def test_the_left_hands_x_sign_is_fixed_once(left, tmp_path):
    path = write_mano_pickle(left, tmp_path / "MANO_LEFT.pkl")
    published = load_hand_model(path, "left", fix_left_shapedirs=False)
    fixed = load_hand_model(path, "left")
    np.testing.assert_array_equal(published.shapedirs, left.shapedirs)
    np.testing.assert_array_equal(fixed.shapedirs[:, 0], -left.shapedirs[:, 0])
    np.testing.assert_array_equal(fixed.shapedirs[:, 1:], left.shapedirs[:, 1:])
    save_hand_model(fixed, tmp_path / "left.npz")
    assert load_hand_model(tmp_path / "left.npz", "left").fingerprint == fixed.fingerprint


def test_a_right_hand_keeps_its_shape_directions(right, tmp_path):
    path = write_mano_pickle(right, tmp_path / "MANO_RIGHT.pkl")
    np.testing.assert_array_equal(load_hand_model(path).shapedirs, right.shapedirs)


def test_the_other_hands_file_is_refused(left, tmp_path):
    path = write_mano_pickle(left, tmp_path / "MANO_LEFT.pkl")
    with pytest.raises(ValueError, match=r"MANO_LEFT\.pkl: a left hand .* expected a right hand"):
        load_hand_model(path)
    with pytest.raises(ValueError, match="side='both'"):
        load_hand_model(path, side="both")


def test_the_fingerprint_tells_hands_apart_but_not_float_widths(right):
    moved = right.v_template.copy()
    moved[5, 1] += 1e-5
    assert replace(right, v_template=moved).fingerprint != right.fingerprint
    assert replace(right, hands_mean=np.zeros(45)).fingerprint != right.fingerprint
    single = right.posedirs.astype(np.float32)
    assert replace(right, posedirs=single, name="other").fingerprint == right.fingerprint
    assert len(right.fingerprint) == 16


def test_a_missing_file_says_where_mano_comes_from_and_what_needs_none(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_hand_model(tmp_path / "MANO_RIGHT.pkl")
    for part in (str(tmp_path), "https://mano.is.tue.mpg.de", "registration", "hand=open"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights": None}, "lacks 'weights'"),
        ({"posedirs": np.zeros((778, 3, 9))}, r"posedirs is float64 \(778, 3, 9\), expected"),
        ({"v_template": np.full((778, 3), np.nan)}, "v_template holds values that are not finite"),
        ({"hands_mean": np.array(["x"] * 45)}, "hands_mean is <U1"),
        ({"f": np.full((1538, 3), 778)}, r"f names vertices outside 0\.\.777"),
        ({"kintree_table": np.zeros((2, 16))}, "not MANO's"),
    ],
)
def test_a_wrong_array_is_named(right, tmp_path, changes, reason):
    path = _npz(tmp_path / "hand.npz", right, **changes)
    with pytest.raises(ValueError, match=reason) as caught:
        load_hand_model(path)
    assert "hand.npz" in str(caught.value)


def test_pickled_objects_in_an_npz_are_refused(right, tmp_path):
    path = _npz(tmp_path / "hand.npz", right, hands_mean=np.array([print] * 45, dtype=object))
    with pytest.raises(ValueError, match=r"hand\.npz: .*allow_pickle=False"):
        load_hand_model(path)


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ValueError, match=r"broken\.npz: not a readable hand model"):
        load_hand_model(tmp_path / "broken.npz")
    (tmp_path / "hand.obj").write_text("v 0 0 0")
    with pytest.raises(ValueError, match=r"hand\.obj: a hand model is a \.npz or MANO's \.pkl"):
        load_hand_model(tmp_path / "hand.obj")


def test_an_npz_that_unpacks_too_large_is_refused_before_unpacking(right, tmp_path, monkeypatch):
    save_hand_model(right, tmp_path / "hand.npz")
    monkeypatch.setattr(model_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ValueError, match="unpacks to"):
        load_hand_model(tmp_path / "hand.npz")


def test_a_model_can_cross_processes(right):
    assert pickle.loads(pickle.dumps(right)).fingerprint == right.fingerprint
