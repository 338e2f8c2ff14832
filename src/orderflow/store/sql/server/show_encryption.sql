-- Return the TLS version of this session; empty if it is not encrypted.
SHOW SESSION STATUS LIKE 'Ssl_version'
