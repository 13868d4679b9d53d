"""Cityscapes: the official files, and the numbered arrays that MTAN made of them."""
