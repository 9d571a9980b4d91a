"""Who and where this instance is: what every wing needs. Nothing here is public."""
