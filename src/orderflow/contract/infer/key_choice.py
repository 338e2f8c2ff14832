"""Chooses which keys of the samples are the standard fields: by their names, if the values fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

from orderflow.contract.definition import STANDARD_FIELDS
from orderflow.contract.infer.field_names import Path, name_distance
from orderflow.contract.infer.field_values import FORM_OF_VALUE
from orderflow.contract.infer.samples import USUAL, Samples
from orderflow.contract.infer.value_types import as_number

Values = Mapping[int, Any]  # by the sample's index; a sample without the key has none

MONEY = ("unit_price", "quantity", "total_price")
_DEPTH = 5  # keys of a path
_CANDIDATES = 4  # of each field
_PROBES = 200  # samples that decide between candidates


class KeyChoice:
    """The keys of samples by path, and the path of each standard field that was found."""

    def __init__(self, samples: Samples) -> None:
        self.count, self.are_cells = len(samples.objects), samples.are_cells
        self._values: dict[Path, Values] = {}
        self._walk((), dict(enumerate(samples.objects)))
        skipped = [path for path in self._values if not all(path) or not _is_writable("".join(path))]
        for path in skipped:
            del self._values[path]
        self.skipped_count = len(skipped)  # keys that a contract file cannot name
        self.candidates = {name: self._rank(name) for name in STANDARD_FIELDS}  # by their names alone, the best first
        self.chosen = self._choose()
        self.missing = [name for name in STANDARD_FIELDS if name not in self.chosen and name != "total_price"]

    @property
    def custom_paths(self) -> list[Path]:
        """The paths of custom fields: no chosen keys, no objects around these, and no keys inside other objects."""
        expanded = {path[:depth] for path in self.chosen.values() for depth in range(1, len(path))}
        return [
            path
            for path in self._values
            if path not in expanded and path not in self.chosen.values() and path[:-1] in expanded | {()}
        ]

    def _walk(self, path: Path, values: Values) -> None:
        """Find the keys of objects, and of the objects in them."""
        if path:
            self._values[path] = values
        objects = {index: value for index, value in values.items() if value is not None}
        if len(path) < _DEPTH and objects and all(isinstance(value, dict) for value in objects.values()):
            for key in dict.fromkeys(key for inner in objects.values() for key in inner):
                self._walk((*path, key), {index: inner[key] for index, inner in objects.items() if key in inner})

    def _rank(self, name: str) -> list[Path]:
        """Return the keys that are called like the field, the best first."""
        scores = {path: score for path in self._values if (score := name_distance(name, path)) is not None}
        return sorted(scores, key=lambda path: (name == "order_id" and self.repeats(path), scores[path]))

    def values(self, path: Path) -> list[Any]:
        """Return the values of this key that are not null."""
        return [value for value in self._values[path].values() if value is not None]

    def repeats(self, path: Path) -> bool:
        """Whether several samples have the same value."""
        texts = [str(value) for value in self.values(path)]
        return len({*texts}) < len(texts)

    def fitting(self, name: str, path: Path) -> list[Any]:
        """Return the values that can be the field's, all of one form; none unless almost all values are."""
        values = self.values(path)
        forms = [FORM_OF_VALUE[name](value) for value in values]
        [(usual_form, count)] = Counter(form for form in forms if form).most_common(1) or [("", 0)]
        is_usual = count * 2 > self.count and count >= USUAL * len(values)
        return [value for value, form in zip(values, forms, strict=True) if form == usual_form] if is_usual else []

    def _choose(self) -> dict[str, Path]:
        chosen: dict[str, Path] = {}
        for name in ("order_id", "customer_id", "order_timestamp", "product_name", "product_category"):
            paths = [path for path in self.candidates[name] if path not in chosen.values() and self.fitting(name, path)]
            if paths:
                chosen[name] = paths[0]
        options: list[list[Path | None]] = [
            [*[path for path in self.candidates[name] if self.fitting(name, path)][:_CANDIDATES], None]
            for name in MONEY
        ]
        combinations = [
            paths
            for paths in product(*options)
            if len({*paths} - {None}) == len([path for path in paths if path]) and not {*paths} & {*chosen.values()}
        ]
        # Names decide, unless only other keys have a total that is the price times the quantity.
        ranks = [{path: rank for rank, path in enumerate(option)} for option in options]
        best = min(
            combinations,
            key=lambda paths: (
                paths.count(None),
                None in paths or bool(self.wrong_totals(paths, _PROBES)),
                sum(rank[path] for rank, path in zip(ranks, paths, strict=True)),
            ),
        )
        return chosen | {name: path for name, path in zip(MONEY, best, strict=True) if path}

    def wrong_totals(
        self, paths: Sequence[Path | None], max_samples: int
    ) -> list[tuple[int, Decimal, Decimal, Decimal]]:
        """Return the samples whose total is not the price times the quantity: index, price, quantity, total."""
        columns = [self._values[path] for path in paths if path]
        wrong = []
        for index in [*columns[0]][:max_samples]:
            numbers = [as_number(column.get(index)) for column in columns]
            price, quantity, total = numbers
            if price is not None and quantity is not None and total is not None and price * quantity != total:
                wrong.append((index, price, quantity, total))
        return wrong


def _is_writable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
