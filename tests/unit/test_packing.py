"""What `--ship` packs."""

from __future__ import annotations

from unittest import mock

import pytest

from orderflow.pipeline import packing


def test_requirements_whose_condition_is_not_met_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = {
        "root": [
            'older; python_version < "3.11"',
            "newer>=2 ; python_version >= '3.11' and implementation_name == 'cpython'",
            "either; python_version < '3.11' or platform_python_implementation == 'CPython'",
            'optional; extra == "x"',
        ],
        "newer": None,
        "either": [],
    }
    dists = {name: mock.Mock(requires=requires) for name, requires in requirements.items()}
    monkeypatch.setattr(packing, "distribution", dists.__getitem__)
    assert [*packing._with_required("root")] == [dists["root"], dists["newer"], dists["either"]]
