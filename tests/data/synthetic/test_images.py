import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from s2hand.data.synthetic import images, rendered
from s2hand.data.synthetic.detector import NOISE_SIZE
from s2hand.data.synthetic.images import SyntheticHands, hand_digest
from s2hand.data.synthetic.scene import Scene
from s2hand.geometry.camera import project
from s2hand.hand.mano import ManoHead
from s2hand.types import HandBatch


@pytest.fixture(scope="module")
def make(hand, renderer):
    def make(**changes: object) -> SyntheticHands:
        options = {"split": "val", "size": 40, "image_px": 32, "cache": False, **changes}
        return SyntheticHands(hand, renderer, **options)

    return make


@pytest.fixture(scope="module")
def cached(make, tmp_path_factory):
    dataset = make(cache=tmp_path_factory.mktemp("cache"))
    dataset.prepare()
    return dataset


def same(a: HandBatch, b: HandBatch) -> None:
    """Equal up to the last bits of float32, which may tip a pixel on an edge."""
    assert ((a.image - b.image).abs() > 1.5 / 255).float().mean() < 0.01
    torch.testing.assert_close(a.keypoints, b.keypoints, atol=0.01, rtol=0)
    torch.testing.assert_close(a.confidence, b.confidence, atol=1e-3, rtol=0)
    torch.testing.assert_close(a.labels.vertices, b.labels.vertices, atol=1e-5, rtol=0)


def test_a_sample_is_one_frame_of_the_contract(make):
    sample = make()[3]
    assert sample.image.shape == (1, 3, 32, 32)
    assert sample.image.dtype == torch.float32
    assert 0 <= sample.image.min() < sample.image.max() <= 1
    assert sample.keypoints.shape == (1, 21, 2)
    assert sample.confidence.shape == (1, 21)
    assert sample.camera.intrinsics.shape == (1, 3, 3)
    assert sample.camera.crop_px == 224
    assert sample.index.tolist() == [3]
    assert sample.labels.vertices.shape == (1, 778, 3)
    batch = HandBatch.stack([sample, make()[4]])
    assert batch.labels.joints.shape == (2, 1, 21, 3)


def test_keypoints_are_near_the_projected_truth(cached):
    batch = HandBatch.stack([cached[i] for i in range(40)])
    truth = project(batch.labels.joints, batch.camera.intrinsics)
    error = (truth - batch.keypoints).norm(dim=-1)
    assert error[batch.confidence > 0.5].median() < 5
    assert error[batch.confidence > 0].max() > 5
    assert 0.5 < batch.confidence.mean() < 0.95


def test_an_object_lies_over_a_third_of_the_hands(make, cached, monkeypatch):
    monkeypatch.setattr(images, "_OCCLUDED_FRACTION", 0.0)
    bare = make()
    changed = [((bare[i].image - cached[i].image).abs() > 0.03).float().mean() for i in range(40)]
    assert 0.2 < np.mean([share > 0.005 for share in changed]) < 0.6


def test_detections_suffer_where_an_object_or_the_hand_itself_is_in_front(make):
    dataset = make()
    scenes = [dataset._scenes.sample(np.random.default_rng(i)) for i in range(4)]
    shots = dataset._scene_renderer.render(Scene.stack(scenes))
    picture, noise = np.zeros((4, 3, 32, 32), np.uint8), np.zeros((4, NOISE_SIZE))
    clear, opaque = np.zeros((4, 32, 32)), np.ones((4, 32, 32))
    hidden = 1 / (1 + np.exp(0.6))  # of logit 2.4 - 3
    for depth, cover in ((shots.depth, opaque), (0 * shots.depth + 0.1, clear)):
        seen = images.frames_of(replace(shots, depth=depth), picture, cover, noise)
        np.testing.assert_allclose(seen["confidence"], hidden)
    bare = images.frames_of(replace(shots, depth=0 * shots.depth), picture, clear, noise)
    np.testing.assert_allclose(bare["confidence"], 1 / (1 + np.exp(-2.4)))


def test_the_same_index_gives_the_same_frame_alone_and_cached(make, cached):
    fresh = make()
    for index in (0, 33, 39):
        same(fresh[index], cached[index])
    same(make(size=400)[33], cached[33])
    torch.testing.assert_close(fresh[5].image, make()[5].image, rtol=0, atol=0)


def test_the_same_frames_on_any_worker_count(make):
    alone, two = (
        list(DataLoader(make(size=5), 2, num_workers=n, collate_fn=HandBatch.stack)) for n in (0, 2)
    )
    for a, b in zip(alone, two, strict=True):
        torch.testing.assert_close(a.image, b.image, rtol=0, atol=0)
        torch.testing.assert_close(a.keypoints, b.keypoints, rtol=0, atol=0)


def test_frames_differ_by_index_seed_and_split(make):
    frames = [make()[0], make()[1], make(seed=1)[0], make(split="test")[0]]
    for i, a in enumerate(frames):
        for b in frames[:i]:
            assert (a.image - b.image).abs().mean() > 0.02


def test_labels_are_for_evaluation_unless_asked_for(make):
    assert make(split="train")[0].labels is None
    assert make(split="test")[0].labels is not None
    assert make(split="train", labels=True)[0].labels is not None
    assert make(labels=False)[0].labels is None


def test_content_key_follows_the_frames(make, cached, renderer):
    key = make().content_key
    assert key == make().content_key == cached.content_key == make(labels=False).content_key
    changes = [
        {"split": "test"},
        {"size": 41},
        {"seed": 1},
        {"view": "narrow"},
        {"image_px": 48},
    ]
    others = [make(**change).content_key for change in changes]
    assert len({key, *others}) == 1 + len(changes)


def test_the_digest_sees_whatever_frames_depend_on(hand):
    heads = [
        hand,
        ManoHead("open", convention="ho3d"),
        ManoHead("open", num_pca=12),
        ManoHead("open", flat_hand_mean=True),
        ManoHead("open"),
        ManoHead("open"),
    ]
    heads[4].albedo[0] *= 0.5
    heads[5].natural_poses[0] *= 0.5
    assert len({hand_digest(head) for head in heads}) == len(heads)
    assert hand_digest(ManoHead("open")) == hand_digest(hand)


def test_names_are_unique(make):
    names = make().names
    assert len(set(names)) == 40
    assert names[7] == "val/000007"


def test_the_cache_is_written_once_and_survives_pickling(make, cached, monkeypatch):
    def never(*args: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(SyntheticHands, "render", never)
    again = make(cache=cached.cache_folder.parent)
    same(again[4], cached[4])
    copy = pickle.loads(pickle.dumps(again))
    assert copy._arrays is None
    same(copy[4], cached[4])


def test_labels_are_not_stored_where_they_are_not_served(make, tmp_path):
    plain = make(size=2, labels=False, cache=tmp_path)
    plain.prepare()
    assert {p.stem for p in plain.cache_folder.iterdir()} == {
        "image", "keypoints", "confidence", "intrinsics",
    }  # fmt: skip
    assert plain[1].labels is None
    full = make(size=2, cache=tmp_path)
    assert full.cache_folder != plain.cache_folder
    assert full[1].labels is not None


def test_an_interrupted_cache_is_not_read(make, tmp_path, monkeypatch):
    dataset = make(cache=tmp_path)
    render = dataset.render

    def interrupted(frames: range) -> rendered.Block:
        if frames.start:
            raise KeyboardInterrupt
        return render(frames)

    monkeypatch.setattr(dataset, "render", interrupted)
    monkeypatch.setattr(rendered, "get_worker_info", lambda: True)  # render in this process
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert dataset[35].image.shape == (1, 3, 32, 32)


def test_writing_in_processes_gives_the_same_cache(make, cached, tmp_path, monkeypatch):
    monkeypatch.setattr(SyntheticHands, "chunk", 5)
    monkeypatch.setattr(rendered, "cores", lambda: 2)
    state = torch.random.get_rng_state()
    dataset = make(cache=tmp_path)
    dataset.prepare()
    assert torch.equal(torch.random.get_rng_state(), state)
    for index in (0, 17, 39):
        same(dataset[index], cached[index])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on fewer than 3 cores
def test_a_few_chunks_use_every_core_and_give_the_same_bytes(make, tmp_path, monkeypatch):
    processes, written = [], []
    loader = rendered.DataLoader

    def recording(*args, num_workers, **options):
        processes.append(num_workers)
        return loader(*args, num_workers=num_workers, **options)

    monkeypatch.setattr(rendered, "DataLoader", recording)
    for count in (1, 2, 8):
        monkeypatch.setattr(rendered, "cores", lambda count=count: count)
        dataset = make(cache=tmp_path / str(count))
        dataset.prepare()
        files = sorted(dataset.cache_folder.glob("*.npy"))
        written.append({path.name: path.read_bytes() for path in files})
    assert processes == [1, 2, 3]  # 40 frames are 3 chunks
    assert set(written[0]) == {f"{name}.npy" for name in dataset.layout}
    assert written[0] == written[1] == written[2]


def test_the_hand_is_a_copy(renderer):
    hand = ManoHead("open")
    expected, dataset = (
        SyntheticHands(hand, renderer, "val", size=2, image_px=32, cache=False) for _ in range(2)
    )
    expected = expected[1]
    hand.to("meta")
    torch.testing.assert_close(dataset[1].image, expected.image, rtol=0, atol=0)


def test_bad_arguments(make):
    with pytest.raises(ValueError, match="0 frames"):
        make(size=0)
    with pytest.raises(ValueError, match="dev"):
        make(split="dev")
    for index in (-41, 40):
        with pytest.raises(IndexError):
            make()[index]
    assert len(make()) == 40


def test_colours_are_the_bytes_of_the_cache(cached):
    stored = np.load(cached.cache_folder / "image.npy", allow_pickle=False)
    np.testing.assert_allclose(cached[6].image[0].numpy() * 255, stored[6], atol=1e-4)


def test_pictures_larger_than_the_table_of_grain(renderer):
    dataset = SyntheticHands(ManoHead("open"), renderer, "val", size=1, image_px=600, cache=False)
    assert dataset[0].image.shape == (1, 3, 600, 600)


def test_a_picture_of_any_scene_makes_no_invalid_number(make):
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        make(cache=False).render(range(16))
