"""What koi-runtime knows, and the rules it knows it by: pure and synchronous, standard library only."""
