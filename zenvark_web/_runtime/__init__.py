"""The instance and its surroundings, which every wing needs. Nothing here is public."""
