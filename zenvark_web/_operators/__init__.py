"""A fleet as operators see it: what the command line and the page have in common."""
