"""The login of the embedded database. Its user has a random password, so that no other local user can log in."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

USER = "root"


def password(folder: Path) -> str:
    """The password of the database in this folder. The first call creates it."""
    path = folder / "password"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a new file that only this system user can read."""
    path.unlink(missing_ok=True)
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
