"""What `orderflow up` records in ORDERFLOW_HOME, by which other commands find its servers."""
