"""What koi-runtime knows, by pure and synchronous rules: standard library only."""
