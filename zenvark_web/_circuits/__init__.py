"""What calls touch, in any thread: the local circuits, and no loop. Nothing here is public."""
