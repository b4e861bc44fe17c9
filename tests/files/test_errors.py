"""What a person is told when a command cannot go on."""

from __future__ import annotations

import json

import pytest
from torch.utils.data import DataLoader, Dataset

from s2hand.files.errors import message


def test_a_missing_gpu_is_told_with_the_remedy() -> None:
    assert "add trainer=cpu" in message(RuntimeError("No supported gpu backend found!"))


class Damaged(Dataset):  # type: ignore[type-arg]
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        try:
            json.loads("{")
        except ValueError as error:
            raise self.error from error


@pytest.mark.parametrize("error", [ValueError, RuntimeError, FileNotFoundError])
def test_of_a_worker_its_own_words_are_told(error: type[Exception]) -> None:
    words = "a/0.jpg: ValueError: no image\n  fetch it again"
    with pytest.raises(Exception, match="DataLoader worker") as raised:
        next(iter(DataLoader(Damaged(error(words)), num_workers=1)))
    assert message(raised.value) == words
