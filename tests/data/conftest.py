import pytest

from s2hand.hand.mano import ManoHead
from s2hand.render.scene import HandRenderer


@pytest.fixture(scope="session")
def hand() -> ManoHead:
    return ManoHead("open")


@pytest.fixture(scope="session")
def renderer() -> HandRenderer:
    return HandRenderer(64, backend="cpu")
