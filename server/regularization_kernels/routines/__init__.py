"""What regularizers compute with: thresholds, projections, groups, sequences, matrices."""
