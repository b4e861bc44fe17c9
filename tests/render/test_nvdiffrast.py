"""Without CUDA: our calls against the real signatures, and what is said without nvdiffrast."""

import copy
import inspect
import sys
import types

import pytest
import torch

from fixtures.meshes import spheres
from s2hand.render import nvdiffrast
from s2hand.render.nvdiffrast import NvdiffrastRasterizer


@pytest.fixture
def calls(monkeypatch):
    """nvdiffrast with its four entry points replaced; each call is bound to the real signature."""
    dr = pytest.importorskip(
        "nvdiffrast.torch", reason="no nvdiffrast package to read signatures of"
    )
    made = {}

    def replace_by(name, result):
        signature = inspect.signature(getattr(dr, name))

        def stand_in(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            made.setdefault(name, []).append(bound.arguments)
            return result(bound.arguments)

        monkeypatch.setattr(dr, name, stand_in)

    def raster(a):
        return torch.zeros(len(a["pos"]), *a["resolution"], 4)

    def image(a):
        return torch.zeros(*a["rast"].shape[:3], a["attr"].shape[-1])

    replace_by("RasterizeCudaContext", lambda a: object())
    replace_by("rasterize", lambda a: (raster(a), None))
    replace_by("interpolate", lambda a: (image(a), None))
    replace_by("antialias", lambda a: a["color"] + 1)
    return made


@pytest.fixture
def fresh():
    """The answer of ``unavailable`` is remembered: forget it before and after."""
    nvdiffrast.unavailable.cache_clear()
    yield
    nvdiffrast.unavailable.cache_clear()


def test_calls_fit_the_real_signatures(calls):
    positions, faces = spheres(32)
    attributes = torch.rand(2, positions.shape[1], 5).double()
    draw = NvdiffrastRasterizer()
    for _ in range(2):
        image = draw(positions, attributes, faces, 24, 40)
    assert image.shape == (2, 24, 40, 5)
    assert (image == 1).all()  # what antialias returned
    assert {name: len(made) for name, made in calls.items()} == {
        "RasterizeCudaContext": 1, "rasterize": 2, "interpolate": 2, "antialias": 2
    }  # fmt: skip
    first = {name: made[0] for name, made in calls.items()}
    assert list(first["rasterize"]["resolution"]) == [24, 40]  # height, width
    for name in ("rasterize", "antialias"):
        assert torch.equal(first[name]["pos"], positions.float())
    for name in ("rasterize", "interpolate", "antialias"):
        assert first[name]["tri"].dtype == torch.int32
    assert torch.equal(first["interpolate"]["attr"], attributes.float())
    for made in first.values():
        assert all(x.is_contiguous() for x in made.values() if isinstance(x, torch.Tensor))


def test_copies_leave_the_contexts_behind(calls):
    positions, faces = spheres(32)
    draw = NvdiffrastRasterizer()
    for rasterizer in (draw, copy.deepcopy(draw), draw):
        rasterizer(positions, positions, faces, 8, 8)
    assert len(calls["RasterizeCudaContext"]) == 2


def test_without_cuda_it_is_unavailable(monkeypatch, fresh):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in nvdiffrast.unavailable()


@pytest.mark.parametrize("broken", [ImportError("no module"), RuntimeError("no compiler")])
def test_a_package_that_does_not_start_is_unavailable(monkeypatch, fresh, broken):
    # Importing succeeds with packages that compile on first use: starting is what counts.
    def start():
        raise broken

    fake = types.SimpleNamespace(RasterizeCudaContext=start)
    monkeypatch.setitem(sys.modules, "nvdiffrast", types.ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    reason = nvdiffrast.unavailable()
    assert type(broken).__name__ in reason
    assert str(broken) in reason


def test_a_package_that_starts_is_available(monkeypatch, fresh):
    fake = types.SimpleNamespace(RasterizeCudaContext=lambda: object())
    monkeypatch.setitem(sys.modules, "nvdiffrast", types.ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert nvdiffrast.unavailable() is None


def test_it_is_imported_only_when_asked_for():
    import subprocess

    code = "import sys, s2hand.render.scene; print([m for m in sys.modules if 'nvdiffrast' in m])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "['s2hand.render.nvdiffrast']"
