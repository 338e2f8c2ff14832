"""Loads the contract of the settings: the default one, or the one of a contract file."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from orderflow.contract import contract_file
from orderflow.contract.definition import DEFAULT, Contract
from orderflow.errors import SettingInvalid
from orderflow.settings import Settings

_JSON_MARK = "\0"  # before a contract as JSON, in place of a file's text, which contains no NUL


def contract_of(settings: Settings) -> Contract:
    """Return the contract of these settings: that of ORDER_CONTRACT, or the default one.

    Raises ContractInvalid, SettingInvalid.
    """
    if settings.order_contract_text.startswith(_JSON_MARK):
        return _from_json(settings.order_contract_text)
    if not settings.order_contract:
        return DEFAULT
    contract = contract_file.read(settings.order_contract_text, settings.order_contract)
    if settings.order_ranges == "enforce" and not contract.is_default:
        raise SettingInvalid(
            "ORDER_RANGES=enforce applies only to the standard fields without ORDER_CONTRACT.",
            hint="Unset one of the two; `minimum`, `maximum` and `values` of the contract file limit the values.",
        )
    return contract


def with_contract(settings: Settings, contract: Contract) -> Settings:
    """Return these settings with this contract, which comes from the tables, not from a file."""
    text = "" if contract == DEFAULT else _JSON_MARK + msgspec.json.encode(contract).decode()
    return msgspec.structs.replace(settings, order_contract="", order_contract_text=text)


@lru_cache(maxsize=16)
def _from_json(text: str) -> Contract:
    return msgspec.json.decode(text.removeprefix(_JSON_MARK), type=Contract)
