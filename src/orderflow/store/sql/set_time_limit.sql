-- Each server reads its own comment alone: MySQL counts milliseconds, MariaDB seconds.
SET SESSION /*!80000 max_execution_time = 3000 */ /*M! max_statement_time = 3 */
