"""What the methods have in common: their interface, losses, schedules, networks."""
