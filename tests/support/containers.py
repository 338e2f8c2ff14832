"""Container images without a container engine: buildah and debootstrap from Debian's packages, unpacked, run by root.

No image is downloaded. debootstrap installs the base Debian from this machine's package archive.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orderflow.embedded import debian
from orderflow.jvm import cache

# In its own mount namespace, the unpacked packages are the root. buildah re-executes itself without the environment
# variables that locate its libraries. Every process that it starts ends with it.
_ENTER = """\
tools=$1 work=$2; shift 2
mount --bind "$tools" "$tools"
mount -t proc proc "$tools/proc"
mount --rbind /sys "$tools/sys"
mount --rbind /dev "$tools/dev"
mount --bind "$work" "$tools/images"
mount --bind /etc/ssl/certs "$tools/etc/ssl/certs"
mount --bind /etc/resolv.conf "$tools/etc/resolv.conf"
chroot=$(command -v chroot)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/images/tmp BUILDAH_ISOLATION=chroot
exec "$chroot" "$tools" /usr/bin/buildah --root /images/store --runroot /images/run --storage-driver vfs "$@"
"""
_CERTIFICATES = Path("/etc/ssl/certs")  # this machine may trust an additional authority


def skip_if_unsupported() -> None:
    """Skip the test unless this is Debian and the user is root, who may mount file systems."""
    if os.geteuid() or not debian.available() or platform.freedesktop_os_release()["ID"] != "debian":
        pytest.skip("needs root on Debian")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("needs the right to mount")


class Buildah:
    """Images and containers in the folder `work`. `inside` returns paths as buildah sees them."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._tools = cache.get_or_create("buildah", _unpack)
        (work / "tmp").mkdir()

    def inside(self, path: Path) -> str:
        """Return the path that buildah sees for a path below `work`."""
        return f"/images/{path.relative_to(self.work)}"

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line of `buildah ARGUMENTS`."""
        enter = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        return [*enter, "sh", "-ec", _ENTER, "sh", str(self._tools), str(self.work), *arguments]

    def __call__(self, *arguments: str) -> str:
        """Run `buildah ARGUMENTS` and return its output."""
        result = subprocess.run(
            self.argv(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1000, check=False
        )
        assert result.returncode == 0, (arguments, result.stdout[-2000:], result.stderr[-4000:])
        return result.stdout.strip()

    def debian(self, name: str, packages: Sequence[str]) -> None:
        """Create an image of this machine's Debian release, with these packages."""
        root = self.work / "debian"
        archive = re.search(r"^URIs: (.*)$", debian._source(unstable=False), re.MULTILINE)
        assert archive
        folders = [self._tools / folder for folder in ("usr/sbin", "usr/bin")]
        debootstrap = subprocess.run(
            [
                *("sh", self._tools / "usr/sbin/debootstrap", "--variant=minbase", f"--include={','.join(packages)}"),
                *(platform.freedesktop_os_release()["VERSION_CODENAME"], root, archive[1]),
            ],
            env=os.environ
            | {
                "DEBOOTSTRAP_DIR": str(self._tools / "usr/share/debootstrap"),
                "PATH": os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin", *map(str, folders)]),
            },
            capture_output=True,
            text=True,
            timeout=1000,
            check=False,
        )
        assert debootstrap.returncode == 0, debootstrap.stdout[-4000:]
        container = self("from", "scratch")
        self("add", "--quiet", container, self.inside(root), "/")
        self("commit", "--quiet", "--rm", container, name)
        shutil.rmtree(root)

    def build(self, name: str, dockerfile: Path, context: Path, **arguments: str) -> None:
        build_arguments = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        # Docker's image format: the OCI format has no HEALTHCHECK.
        options = ["--format", "docker", f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro", *build_arguments]
        self("bud", *options, "--file", self.inside(dockerfile), "--tag", name, self.inside(context))

    def configuration(self, name: str) -> dict[str, Any]:
        """Return the image's configuration, as Docker shows it."""
        docker_configuration: dict[str, Any] = json.loads(self("inspect", "--type", "image", name))["Docker"]["config"]
        return docker_configuration


def _unpack(folder: Path) -> None:
    debian.unpack(folder, ["buildah", "debootstrap"])
    for name in ("proc", "sys", "dev", "images", "tmp", "run", "var/tmp", "etc/ssl/certs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc/resolv.conf").touch()
    (folder / "etc/passwd").write_text("root:x:0:0::/tmp:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
