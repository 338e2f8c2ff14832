"""Converts rows of a CSV file to messages of a contract."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache

from orderflow.contract.definition import Contract, Field, KeyTree, Kind

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def fields_of(header: Sequence[str], contract: Contract) -> list[Field | None]:
    """Return the field of each column: by the fields' keys in the message, or by their names."""
    fields = [field for field in contract.fields if field.path]
    by_key = {field.key: field for field in fields}
    by_name = {field.name: field for field in fields}
    mixed = {field.name: field for field in fields if field.key not in header} | by_key
    by_column = next((fields for fields in (by_key, by_name) if {*header} <= fields.keys()), mixed)
    return [by_column.get(name) for name in header]


def converter(header: Sequence[str], contract: Contract) -> Callable[[Sequence[str]], bytes]:
    """Return the function that converts the cells of a row to a message.

    The message is a JSON object. Numbers are copied as they are written, so that the contract checks them. An empty
    cell of an optional field is omitted. A column that is not a field becomes a text. A row with too many or too few
    cells, or with invalid JSON in a JSON field, becomes a JSON array of its cells, which the contract rejects. Lone
    surrogates become the bytes that they represent.
    """
    fields = fields_of(header, contract)
    columns = [(field, field.path if field else (name,)) for name, field in zip(header, fields, strict=True)]
    keys = {name: None for name, field in zip(header, fields, strict=True) if field is None} | contract.key_tree

    def convert(cells: Sequence[str]) -> bytes:
        try:
            tokens = {
                path: _token(field, cell)
                for (field, path), cell in zip(columns, cells, strict=True)
                if cell or (field and field.required)
            }
        except ValueError:
            return _encode(_to_json(cells))
        return _encode(_object(keys, tokens))

    return convert


def _object(keys: KeyTree, tokens: dict[tuple[str, ...], str], path: tuple[str, ...] = ()) -> str:
    """Return the object at this path of the message. An inner object without a key is left out."""
    members = []
    for key, inner in keys.items():
        token = _object(inner, tokens, (*path, key)) if inner else tokens.get((*path, key), "")
        if token:
            members.append(f"{_quote(key)}: {token}")
    return f"{{{', '.join(members)}}}" if members or not path else ""


_to_json = json.JSONEncoder(ensure_ascii=False).encode
_quote = cache(json.dumps)  # of the contract's keys


def _token(field: Field | None, cell: str) -> str:
    """Return the cell as JSON of the field's kind; or as a text, which the contract rejects, if it is not of that kind.

    Raises ValueError if the field's kind is JSON and the cell is not JSON.
    """
    if field is None or field.kind is Kind.STRING or (field.kind is Kind.TIMESTAMP and field.format != "epoch_ms"):
        return _to_json(cell)
    token = cell.strip(" \t")
    if token and field.kind is Kind.JSON:
        _check_json(token)
        return token
    if field.kind is Kind.BOOLEAN:
        is_token = token in ("true", "false")
    else:
        is_token = _JSON_NUMBER.fullmatch(token) is not None
        if is_token and field.json == "string":
            return f'"{token}"'
    return token if is_token else _to_json(cell or None)


def _check_json(text: str) -> None:
    """Raise ValueError if the text is not one JSON document."""
    try:
        _read_json(text)
    except RecursionError:
        raise ValueError("too deep") from None


def _reject_constant(name: str) -> None:
    raise ValueError(name)


# Numbers stay texts: their size does not matter here.
_read_json = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_reject_constant).decode


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
