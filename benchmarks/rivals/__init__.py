"""What the subjects are measured beside: other ways to do the same work, and bare servers."""
