"""What decides: it knows no threads and no users. Nothing here is public."""
