"""What a running worker shows of itself: logs, metrics and the HTTP endpoint."""
