"""PASCAL-Context with five tasks: semantic classes, human parts, saliency, normals and edges."""
