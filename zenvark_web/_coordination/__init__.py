"""One instance's part in the fleet: its loops, and what they share. Nothing here is public."""
