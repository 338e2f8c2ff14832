SELECT @@GLOBAL.local_infile
