"""Makes what the documentation shows: pictures, and pages that are written from data."""
