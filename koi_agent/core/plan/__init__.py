"""The plan: what each instance requests, and which record each request gets."""
