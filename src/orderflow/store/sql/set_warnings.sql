SET SESSION max_error_count = 65535
