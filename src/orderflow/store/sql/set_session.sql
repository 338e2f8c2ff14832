SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
            time_zone = '+00:00',
            max_error_count = 65535
