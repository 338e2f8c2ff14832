"""Builds wheels; checks that a wheel's library runs where its tag claims: `python -m tests.support.wheels dist/*.whl`.

It parses ELF and Mach-O files itself, so any machine can check the wheels of every platform.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from uv import find_uv_bin

from tests.support.processes import ROOT, TIMEOUT

PLATFORMS = (
    *("manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "musllinux_1_2_x86_64", "musllinux_1_2_aarch64"),
    *("macosx_11_0_x86_64", "macosx_11_0_arm64"),
)
LIBRARY = "orderflow/contract/native/native.so"
# C functions that the libc of every platform has. The library may import no others.
_FUNCTIONS = {"memcpy", "memmove", "memset", "memchr", "memcmp", "bcmp", "bzero"}
_LIBRARIES = {
    "manylinux": {"libc.so.6"},
    "musllinux": {"libc.so"},  # resolved by the musl loader itself
    "macosx": {"/usr/lib/libSystem.B.dylib"},
}
_ELF_PROCESSORS = {62: "x86_64", 183: "aarch64"}
_MACH_PROCESSORS = {0x01000007: "x86_64", 0x0100000C: "arm64"}

_NOT_SOURCE = ("*.egg-info", "*.so", "__pycache__", ".*", "build", "dist", "benchmarks", "docs", "tests")

Version = tuple[int, ...]


class Binary(NamedTuple):
    """Requirements of a library: file format, processor, libraries, their functions, and the oldest system."""

    form: str
    processor: str
    libraries: set[str]
    functions: set[str]
    oldest: Version  # of glibc or macOS; empty if any version works


def environment() -> dict[str, str]:
    """Return this process's environment without the variables that point to the clone or the test servers."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "MYSQL_", "ORDERFLOW_", "PYTHON", "VIRTUAL_ENV"))
    }


def uv(*arguments: str | Path, **environ: str) -> None:
    """Run `uv ARGUMENTS` in the clone; fail if it fails."""
    result = subprocess.run(
        [find_uv_bin(), *arguments],
        cwd=ROOT,
        env=environment() | environ,
        capture_output=True,
        text=True,
        timeout=3 * TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def own_platform() -> str:
    """Return the platform tag of the wheel for this Linux."""
    family = "manylinux_2_17" if platform.libc_ver()[0] == "glibc" else "musllinux_1_2"
    return f"{family}_{platform.machine()}"


def build(tag: str, folder: Path) -> Path:
    """Return the wheel for this platform, built in `folder` from the source archive, as `make dist` does."""
    locked = ("--build-constraints", ROOT / "requirements-build.txt", "--require-hashes")
    options = ("--python", sys.executable, *locked, "--out-dir", folder)
    if not (source := [*folder.glob("*.tar.gz")]):
        # A copy: setuptools adds the files of an older file list in the clone, and writes a new list into it.
        clone = shutil.copytree(ROOT, folder / "clone", ignore=shutil.ignore_patterns(*_NOT_SOURCE))
        uv("build", "--sdist", clone, *options)
        source = [*folder.glob("*.tar.gz")]
    uv("build", "--wheel", *source, *options, ORDERFLOW_WHEEL_PLATFORM=tag)
    [wheel] = folder.glob(f"*-{tag}.whl")
    return wheel


def defects(wheel: Path) -> list[str]:
    """Return the wheel's defects; empty if there are none."""
    _, _, python, abi, platform = wheel.stem.split("-")
    family, major, minor, processor = re.fullmatch(r"([a-z]+)_(\d+)_(\d+)_(\w+)", platform).groups()  # type: ignore[union-attr]
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        tags = re.findall(r"^Tag: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
        library = read(archive.read(LIBRARY))
    expected = "Mach-O" if family == "macosx" else "ELF"
    checks = {
        f"the file's tag is {python}-{abi}-{platform}, the metadata's {tags}": tags != [f"py3-none-{platform}"],
        f"the library is {library.form} for {library.processor}": (library.form, library.processor)
        != (expected, processor),
        f"it needs {library.libraries}": not library.libraries <= _LIBRARIES[family],
        f"it needs the functions {library.functions - _FUNCTIONS}": not library.functions <= _FUNCTIONS,
        f"it needs version {library.oldest}": library.oldest > (int(major), int(minor))
        if family in ("manylinux", "macosx")
        else bool(library.oldest),
    }
    return [f"{wheel.name}: {text}" for text, is_wrong in checks.items() if is_wrong]


def read(data: bytes) -> Binary:
    """Return the requirements of a 64-bit little-endian library."""
    if data[:4] == b"\x7fELF":
        return _read_elf(data)
    assert data[:4] == b"\xcf\xfa\xed\xfe", "neither ELF nor Mach-O"
    return _read_mach(data)


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def _read_elf(data: bytes) -> Binary:
    [machine] = struct.unpack_from("<H", data, 18)
    [table] = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    # For each section: type, offset, size, index of its string section.
    sections = [
        (kind, at, length, link)
        for _, kind, _, _, at, length, link in (
            struct.unpack_from("<IIQQQQI", data, table + size * number) for number in range(count)
        )
    ]
    libraries: set[str] = set()
    functions: set[str] = set()
    versions: list[Version] = [()]
    for kind, at, length, link in sections:
        texts = sections[link][1]
        if kind == 6:  # SHT_DYNAMIC
            entries = struct.iter_unpack("<QQ", data[at : at + length])
            libraries = {_text(data, texts + value) for tag, value in entries if tag == 1}  # DT_NEEDED
        elif kind == 11:  # SHT_DYNSYM
            symbols = struct.iter_unpack("<IBBHQQ", data[at : at + length])
            functions = {_text(data, texts + name) for name, _, _, section, *_ in symbols if name and not section}
        elif kind == 0x6FFFFFFE:  # SHT_GNU_verneed
            versions += _needed_versions(data, at, texts)
    return Binary("ELF", _ELF_PROCESSORS[machine], libraries, functions, max(versions))


def _needed_versions(data: bytes, at: int, texts: int) -> list[Version]:
    versions: list[Version] = []
    while True:
        _, count, _, entry, following = struct.unpack_from("<HHIII", data, at)
        entry += at
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, entry)
            versions.append(tuple(map(int, _text(data, texts + name).removeprefix("GLIBC_").split("."))))
            entry += step
        if not following:
            return versions
        at += following


def _read_mach(data: bytes) -> Binary:
    [processor] = struct.unpack_from("<I", data, 4)
    [count] = struct.unpack_from("<I", data, 16)
    libraries: set[str] = set()
    functions: set[str] = set()
    oldest: Version = ()
    at = 32
    for _ in range(count):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 0x0C:  # LC_LOAD_DYLIB
            libraries.add(_text(data, at + struct.unpack_from("<I", data, at + 8)[0]))
        elif kind == 0x32:  # LC_BUILD_VERSION
            _, packed = struct.unpack_from("<II", data, at + 8)
            oldest = (packed >> 16, packed >> 8 & 0xFF)
        elif kind == 0x02:  # LC_SYMTAB
            symbols, number, texts, _ = struct.unpack_from("<IIII", data, at + 8)
            for name, type_, _, _, _ in struct.iter_unpack("<IBBHQ", data[symbols : symbols + 16 * number]):
                if type_ == 0x01:  # external and undefined
                    functions.add(_text(data, texts + name).removeprefix("_"))
        at += size
    return Binary("Mach-O", _MACH_PROCESSORS[processor], libraries, functions - {"dyld_stub_binder"}, oldest)


def main() -> None:
    wheels = [Path(name) for name in sys.argv[1:]]
    if all_defects := [defect for wheel in wheels for defect in defects(wheel)]:
        sys.exit("\n".join(all_defects))
    print(f"{len(wheels)} wheels match their tags.")


if __name__ == "__main__":
    main()
