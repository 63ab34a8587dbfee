"""The formats of scans: what a file claims of itself, checked in Python before a library in C sees it."""
