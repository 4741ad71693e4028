"""What waits and who works: the database, and how it is kept true to the run folders."""
