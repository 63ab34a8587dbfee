"""What every method must do, checked on small trainings."""
