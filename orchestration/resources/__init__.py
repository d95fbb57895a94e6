"""What assets are given: the platform of a run, and the record of its tick."""
