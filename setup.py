"""Compiles native.c with the compiler that the package ziglang brings: no other is needed, nor Python's headers."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Compile(build_ext):
    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', os.sep)}.so"  # ctypes loads it: it is of no Python version

    def build_extension(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        cache = Path(self.build_temp).resolve()
        for folder in (library.parent, cache):
            folder.mkdir(parents=True, exist_ok=True)
        # For each processor of this kind, not for this very one: `sink --ship` takes the library to other machines.
        options = ["-O3", "-mcpu=baseline", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *options, "-o", str(library), *ext.sources],
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)},
            check=True,
        )


setup(
    ext_modules=[Extension("orderflow.native.native", ["src/orderflow/native/native.c"])],
    cmdclass={"build_ext": Compile},
)
