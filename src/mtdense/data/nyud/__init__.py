"""NYUD-v2 in the forms in which it is published; import from the files of this package."""
