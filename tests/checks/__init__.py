"""What is rendered, before the offline validators of its targets: `make checks`."""
