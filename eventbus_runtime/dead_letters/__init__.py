"""Dead letters that are stored: read, replayed to where they came from, dropped."""
