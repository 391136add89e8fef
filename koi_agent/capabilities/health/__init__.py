"""Health by checks of our own: ``checker`` keeps time and score, ``prober`` asks once."""
