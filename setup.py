"""Compiles native.c, and puts the target platform into the wheel's tag.

ctypes loads the library, so one wheel fits every version of Python. ORDERFLOW_WHEEL_PLATFORM=TAG compiles for another
platform than this machine's: `make dist` does so for each of _TARGETS.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

_TARGETS = {  # platform tag of the wheel to zig's name of the platform
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
}
_PLATFORM = os.environ.get("ORDERFLOW_WHEEL_PLATFORM")
if _PLATFORM and _PLATFORM not in _TARGETS:
    sys.exit(f"ORDERFLOW_WHEEL_PLATFORM is {_PLATFORM}. It must be one of: {', '.join(_TARGETS)}.")

# `pip install` of the source uses the machine's own cc if there is one: ziglang, which includes a compiler, is a
# download of 100 MB. If ziglang is installed, as by `make setup`, it compiles: its version is locked.
_HAS_ZIG = find_spec("ziglang") is not None
_NEEDS_ZIG = _PLATFORM is not None or shutil.which("cc") is None


class Compile(build_ext):
    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', os.sep)}.so"  # on macOS, too: ctypes gets the whole name

    def build_extension(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        cache = Path(self.build_temp).resolve()
        for folder in (library.parent, cache):
            folder.mkdir(parents=True, exist_ok=True)
        options = ["-O3", "-Wall", "-Wextra", "-shared", "-fPIC"]
        subprocess.run(
            [*_compiler(), *options, "-o", str(library), *ext.sources],
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)},
            check=True,
        )


def _compiler() -> list[str]:
    if not _HAS_ZIG:
        return ["cc"]
    target = ["-target", _TARGETS[_PLATFORM]] if _PLATFORM else []
    # For every processor of this kind, not only this machine's: `sink --ship` copies the library to other machines.
    return [sys.executable, "-m", "ziglang", "cc", *target, "-mcpu=baseline", "-Werror"]


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", _PLATFORM or super().get_tag()[2]


setup(
    ext_modules=[Extension("orderflow.contract.native.native", ["src/orderflow/contract/native/native.c"])],
    cmdclass={"bdist_wheel": Wheel, "build_ext": Compile},
    setup_requires=["ziglang>=0.15"] if _NEEDS_ZIG and not _HAS_ZIG else [],
)
