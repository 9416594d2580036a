"""The parts of the benchmarks that judge: what they count as lost, altered or too much."""
