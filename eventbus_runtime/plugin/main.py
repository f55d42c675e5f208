"""`eventbus-plugin`."""


def main() -> None:
    """The console script `eventbus-plugin`."""
    raise SystemExit("not built yet")
