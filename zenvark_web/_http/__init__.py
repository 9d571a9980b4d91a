"""What all HTTP sides share; it knows no client library."""
