"""The `mtdense` program, one file per command."""
