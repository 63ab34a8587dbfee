"""How long something took, as text."""


def duration(seconds: float) -> str:
    """Write a duration for readers: the same everywhere in the project.

    Example:
        >>> [duration(seconds) for seconds in (3.25, 90, 3570, 7500)]
        ['3.2 s', '2 min', '1 h 00 min', '2 h 05 min']
    """
    if seconds < 59.95:  # from there on it would print as 60.0 s
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
