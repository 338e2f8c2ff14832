"""Infers a contract file from samples, with comments for the person who checks it.

Names suggest which key is which standard field, and the values must fit. All other keys become custom fields.
"""

from __future__ import annotations

from orderflow.contract.infer.id_pattern import pattern_of
from orderflow.contract.infer.proposal import infer
from orderflow.contract.infer.samples import Samples, of_cells, of_json

__all__ = ["Samples", "infer", "of_cells", "of_json", "pattern_of"]
