"""What both programs that check share: vectors, calls, comparison and report."""
