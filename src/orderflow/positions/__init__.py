"""Compares the ledger's positions with the topic: where the lag, the gaps and the checks of a start come from."""
