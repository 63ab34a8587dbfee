"""Entry point: `python run_benchmark.py --help`."""

from benchmark.command_line.app import main

if __name__ == "__main__":
    main()
