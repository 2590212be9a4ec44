"""Fuzzing of everything that reads bytes from outside: targets, seeds of real material, and the harness."""
