-- Return whether the server accepts LOAD DATA LOCAL.
SELECT @@GLOBAL.local_infile
