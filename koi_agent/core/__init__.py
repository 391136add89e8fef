"""The pure and synchronous core of koi-runtime. It uses the standard library only."""
