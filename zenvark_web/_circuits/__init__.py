"""The part that calls use, in any thread: the local circuits, without loops. Nothing here is
public."""
