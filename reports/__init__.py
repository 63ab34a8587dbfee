"""Reports: tables, statistics and figures, each a pure function of a results folder."""
