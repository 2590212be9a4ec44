"""The entry point. What a command needs is imported when it is run, so that `kumoi --help` costs little."""


def main() -> None:
    """Run the command line."""
    from kumoi.cli.root import run

    run()
