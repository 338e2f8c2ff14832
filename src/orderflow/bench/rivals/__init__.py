"""What people would use instead, each set up for its best speed: see `compare.bench`."""
