"""What the commands show: a function a verb, each a call of what is below and a table. Only this prints."""
