-- End statements of this session after 3 seconds.
-- MySQL reads the first comment and counts milliseconds. MariaDB reads the second one and counts seconds.
SET SESSION /*!80000 max_execution_time = 3000 */ /*M! max_statement_time = 3 */
