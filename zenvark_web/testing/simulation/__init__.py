"""A whole fleet in virtual time: run through a schedule of faults, and watched."""
