"""The output engine: plans for instances that opt in and feeds the providers."""
