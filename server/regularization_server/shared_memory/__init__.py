"""Memory that the server shares with clients on its host: regions, their hand-off, and calls on them."""
