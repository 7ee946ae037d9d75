"""Prints where the oneDNN wheel put its headers and library, if it is installed."""

import importlib.metadata
import pathlib

try:
    files = importlib.metadata.files("onednn-devel-cpu-gomp") or []
except importlib.metadata.PackageNotFoundError:
    files = []

headers = [pathlib.Path(str(file.locate())).resolve() for file in files if file.name == "dnnl.hpp"]
print(headers[0].parent.parent if headers else "")
