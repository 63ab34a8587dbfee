"""From an experiment file to the trials that are left to run."""
