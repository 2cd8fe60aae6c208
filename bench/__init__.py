"""What the pipeline costs, measured beside what people use instead: `make bench`."""
