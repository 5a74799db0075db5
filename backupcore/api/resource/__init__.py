"""The calls: each parses, asks the service once, and shows what came back."""
