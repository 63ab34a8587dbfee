"""Formats of scans. Python checks what a file claims of itself before a library in C reads it."""
