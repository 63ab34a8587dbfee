"""Ray Tune runs the trials, on this machine or on many."""
