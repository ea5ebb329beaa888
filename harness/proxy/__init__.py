"""The gateway as a service of its own: `proxy` carries the calls of programs that it did not start."""
