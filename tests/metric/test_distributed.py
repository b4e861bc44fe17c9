"""Two real processes with uneven shares, one of them empty, reduce to the one-process value."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("distributed_worker.py")
SPLITS = [[[0, 3], [1, 2, 4, 5, 6]], [[0, 1, 2, 3, 4, 5, 6], []]]


def test_shares_reduce_exactly(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "store"), json.dumps(SPLITS)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    expected = runpy.run_path(str(WORKER))["evaluate"](list(range(7)))
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        for result in json.loads(output):
            assert result == pytest.approx(expected, rel=1e-12)
