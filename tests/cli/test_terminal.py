"""What the commands share: errors and warnings as single lines that do nothing but tell."""

from __future__ import annotations

import logging

import pytest
import typer

from bb3.cli.terminal import clear_errors, quiet_logs
from bb3.core.errors import SearchError

OUTSIDE = "\x1b]0;title\x07\x9b2J [bold]10.0.0.1:100:[/] https://me:s3cret@host"
TOLD = "]0;title2J [bold]10.0.0.1:100:[/] https://**********@host"


def test_an_error_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, clear_errors():
        raise SearchError(f"The server says {OUTSIDE}")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"bb3: The server says {TOLD}\n"


def test_a_warning_is_told_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    quiet_logs()
    logging.getLogger("bb3.test").warning("The server says %s", OUTSIDE)
    assert capsys.readouterr().err == f"The server says {TOLD}\n"
