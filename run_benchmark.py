"""Entry point: `python run_benchmark.py --help`."""

import sys
from pathlib import Path

# First on the path, whatever PYTHONPATH, PYTHONSAFEPATH or the working directory say: the packages beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark.command_line.app import main  # noqa: E402

if __name__ == "__main__":
    main()
