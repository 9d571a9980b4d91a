"""The loops of a started coordinator, and what starts and ends them. Nothing here is public."""
