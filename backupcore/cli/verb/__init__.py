"""The verbs: each parses, calls the library and hands the result to `talk`."""
