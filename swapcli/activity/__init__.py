"""What requests used, what they were, and which are under way: recorded beside the answers."""
