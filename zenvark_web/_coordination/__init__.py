"""The loops of a started coordinator, and their start and end. Nothing here is public."""
