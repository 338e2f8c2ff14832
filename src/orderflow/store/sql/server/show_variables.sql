-- Read these global variables.
SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})
