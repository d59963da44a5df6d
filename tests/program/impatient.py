"""The program with a heart that beats oftener: one that is stuck is missed within seconds."""

from trackgate.app import child

child.BEAT = 0.25

from trackgate.cli import main  # noqa: E402 - those that take the constant over are to find it so

if __name__ == "__main__":
    main()
