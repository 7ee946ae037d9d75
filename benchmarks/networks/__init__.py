"""Networks described once, with their weights, and built from that in each library."""
