"""Benchmarks of speed, memory and error rates; `make bench` runs those of speed."""
