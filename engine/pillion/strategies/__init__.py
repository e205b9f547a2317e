"""Ways to move an app: each a file that turns a situation into a plan, found by entry point `pillion.strategies`."""
