"""OUT, showing: what the registry says, for whoever asks."""
