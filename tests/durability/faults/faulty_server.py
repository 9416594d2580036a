"""`wardenmq`, as installed, on a faulty disk; run as `python -m tests.durability.faults.faulty_server serve ...`."""

from wardenmq.cli import main

from .disk import attach

if __name__ == "__main__":
    attach()
    main()
