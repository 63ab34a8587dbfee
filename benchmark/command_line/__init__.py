"""What a user types: commands, options, progress on the terminal."""
