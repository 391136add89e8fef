"""What acts for whatever opted in: each capability through what the host has for it."""
