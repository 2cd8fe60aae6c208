"""Pages that show the figures without SQL: one per section, an index, and one of the pipeline."""
