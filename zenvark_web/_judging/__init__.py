"""Decisions, without threads and users. Nothing here is public."""
