"""Fuzzes native.c under AddressSanitizer and UBSan: python -m tests.support.fuzz --seconds 60 --seed 7

The machine's cc compiles the library with both sanitizers, and a second process loads it. Its buffers have the exact
size, so an access one byte after them ends it. Each round is a random contract with a batch of messages; the number of
a round is its seed. The fast path, the exact path and the reference must agree.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import msgspec
import pyarrow as pa

from orderflow.contract import native
from orderflow.contract.definition import Contract
from orderflow.contract.field_reader import default_value
from tests.support import agreement, contracts
from tests.support.message_defects import mutated

_OPTIONS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-shared", "-fPIC")
_PROBE = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
_MESSAGES = 12  # at most; each is repeated with a defect
_CUT = 0.2  # share of the messages that are repeated, cut off at a random byte


class CannotFuzz(Exception):
    """The machine has no compiler with the sanitizers."""


def main() -> int:
    """Build the library and fuzz it in a second process. With --library, fuzz that library."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fuzz", description="Fuzz native.c under its sanitizers."
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1, help="the first round's number")
    parser.add_argument("--rounds", type=int, default=sys.maxsize)
    parser.add_argument("--source", type=Path, default=Path(native.__file__).with_name("native.c"))
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.library:
        fuzz(arguments.library, arguments.seed, arguments.rounds, arguments.seconds)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            library, environment = build(arguments.source, Path(folder))
        except CannotFuzz as error:
            print(error)
            return 0
        command = [sys.executable, "-m", "tests.support.fuzz", *sys.argv[1:], "--library", str(library)]
        failed = subprocess.run(command, env=environment, check=False).returncode
        if failed:
            _show(int(library.with_name("round").read_text("ascii")))
        return 1 if failed else 0


def case(number: int) -> tuple[Contract, list[bytes]]:
    """Return the contract and the messages of a round."""
    rng = Random(number)
    contract = contracts.random_contract(rng)
    values = [contracts.random_message(contract, rng, defects=1) for _ in range(rng.randint(1, _MESSAGES))]
    values += [mutated(value, rng.choice(values), rng) for value in values]
    values += [value[: rng.randrange(len(value))] for value in values if value and rng.random() < _CUT]
    rng.shuffle(values)
    return contract, values


def _show(number: int) -> None:
    print(f"Round {number} failed. To repeat it: python -m tests.support.fuzz --rounds 1 --seed {number}")
    contract, values = case(number)
    print(msgspec.json.encode(contract).decode(), *values, sep="\n")


def build(source: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """Compile the source with the sanitizers. Return the library, and the environment of a process that can load it.

    Raises CannotFuzz.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise CannotFuzz("This machine has no C compiler (cc, gcc or clang), so native.c is not fuzzed.")
    runtime = next(filter(None, (_runtime(compiler, name) for name in _RUNTIMES)), None)
    # Python allocates by malloc, so that the sanitizer also guards keys and columns.
    options = "detect_leaks=0:quarantine_size_mb=64"
    environment = os.environ | {"ASAN_OPTIONS": options, "PYTHONMALLOC": "malloc", "LD_PRELOAD": runtime or ""}
    probe, library = folder / "probe.c", folder / "native.so"
    probe.write_text("int probe;\n", "ascii")
    try:
        subprocess.run([compiler, *_OPTIONS, "-o", library, probe], capture_output=True, check=True)
        subprocess.run([sys.executable, "-c", _PROBE, library], env=environment, capture_output=True, check=True)
    except subprocess.CalledProcessError:
        reason = f"{compiler} cannot build a library with AddressSanitizer, so native.c is not fuzzed."
        raise CannotFuzz(reason) from None
    subprocess.run([compiler, *_OPTIONS, "-o", library, source], check=True)
    return library, environment


_RUNTIMES = ("libasan.so", "libclang_rt.asan.so", "libclang_rt.asan-x86_64.so", "libclang_rt.asan-aarch64.so")


def _runtime(compiler: str, name: str) -> str | None:
    """Return the path of the sanitizer's runtime, if the compiler has one of this name."""
    result = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False)
    return result.stdout.strip() if Path(result.stdout.strip()).is_absolute() else None


def fuzz(library: Path, seed: int, rounds: int, seconds: float) -> None:
    """Check one round after the other. The file `round` has the number of the current one."""
    _load(library)
    start, number, values, orders = time.monotonic(), seed, 0, 0
    with library.with_name("round").open("wb", buffering=0) as current:
        while time.monotonic() < start + seconds and number < seed + rounds:
            os.pwrite(current.fileno(), f"{number:20}".encode(), 0)
            contract, batch = case(number)
            agreement.check_contract(contract)
            orders += agreement.check_values(batch, contract)
            _read_one_by_one(Random(number), contract, batch)
            default_value.cache_clear()
            values += len(batch)
            number += 1
    print(
        f"{number - seed:,} contracts with {values:,} messages, of which {orders:,} were valid orders: no fault in "
        f"{time.monotonic() - start:.0f} s (rounds {seed} to {number - 1})."
    )


def _read_one_by_one(rng: Random, contract: Contract, values: list[bytes]) -> None:
    """Read each value from a buffer of its size, and the names of unknown fields into a small buffer."""
    for value in values:
        native._NAME_BYTES = rng.randint(0, 20) - len(value)
        native.read(pa.array([value], pa.large_binary()), contract)
    native._NAME_BYTES = 0


def _load(library: Path) -> None:
    """Use this library, with buffers of the exact size."""
    read, write = native.read, native.write
    native._PATH, native.IS_COMPILED, native._allocate = library, True, _allocate
    native._NAME_BYTES = 0
    native.read = lambda values, contract: read(_with_exact_buffers(values), contract)
    native.write = lambda rows, **names: write(
        pa.table([_with_exact_buffers(column.combine_chunks()) for column in rows.columns], schema=rows.schema), **names
    )


_malloc, _free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
_malloc.restype, _malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
_free.restype, _free.argtypes = None, [ctypes.c_void_p]


class _Memory:
    def __init__(self, size: int) -> None:
        self.address = _malloc(size)

    def __del__(self) -> None:
        _free(self.address)


def _allocate(size: int) -> pa.Buffer:
    memory = _Memory(size)
    return pa.foreign_buffer(memory.address, size, memory)


def _with_exact_buffers(array: pa.Array) -> pa.Array:
    """Return a copy of the array whose buffers have the exact size."""
    array = pa.concat_arrays([array])  # without an offset
    width = 8 if pa.types.is_large_binary(array.type) else 4
    sizes = [(len(array) + 7) // 8]
    if pa.types.is_string(array.type) or pa.types.is_large_binary(array.type):
        ends = array.buffers()[1]
        last = ends.to_pybytes()[width * len(array) :][:width] if ends else b""
        sizes += [width * (len(array) + 1), int.from_bytes(last, "little")]
    else:
        sizes.append(len(array) * array.type.bit_width // 8)
    buffers = [buffer and _copy(buffer, size) for buffer, size in zip(array.buffers(), sizes, strict=True)]
    return pa.Array.from_buffers(array.type, len(array), buffers)


def _copy(buffer: pa.Buffer, size: int) -> pa.Buffer:
    copy = _allocate(size)
    ctypes.memmove(copy.address, buffer.address, size)
    return copy


if __name__ == "__main__":
    sys.exit(main())
