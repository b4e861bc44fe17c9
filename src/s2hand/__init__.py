"""S2HAND and S2HAND(V): 3D hands from images and video, trained without 3D labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2hand.training.build import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import ``s2hand.load`` on first use, since it needs torch and most of the package."""
    if name == "load":
        from s2hand.training.build import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
