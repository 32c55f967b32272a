"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recorded material of the reference, beside the checkout; tests skip where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("no recorded material beside this checkout (../shared)")
    return SHARED
