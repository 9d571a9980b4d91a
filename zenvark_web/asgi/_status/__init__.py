"""The status page: a live view of the fleet for people, and the same as an API."""
