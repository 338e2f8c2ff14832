"""The dashboard: one live page over the read side, for people."""
