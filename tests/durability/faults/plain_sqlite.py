"""SQLite alone on a faulty disk: statements in, results out; run by `test_file_faults.py`.

Run as `python -m tests.durability.faults.plain_sqlite FILE`, it reads JSON lines `[NUMBER, CONNECTION, SQL]` and runs
each in its connection's own thread, so that one may wait for the disk while others do not. A connection whose name is
a path is to that file. Each answer is a line `[NUMBER, ROWS, ERROR]`, in the order in which they came to their ends.
"""

import json
import os
import queue
import sqlite3
import sys
import threading
import traceback
from pathlib import Path

from .disk import attach


def run(path: str, orders: "queue.SimpleQueue[tuple[int, str] | None]") -> None:
    """Run statements in a connection until there are no more."""
    connection: sqlite3.Connection | None = None
    while (order := orders.get()) is not None:
        number, sql = order
        rows: list[tuple[object, ...]] = []
        error = None
        try:
            connection = connection or sqlite3.connect(path, isolation_level=None)
            rows = connection.execute(sql).fetchall()
        except sqlite3.Error as failure:
            error = failure.sqlite_errorname
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # so that nobody waits for an answer
        os.write(1, json.dumps([number, rows, error]).encode() + b"\n")
    if connection is not None:
        connection.close()


def main(path: str) -> None:
    """Take orders from standard input to its end."""
    attach()
    threads: dict[str, tuple[threading.Thread, queue.SimpleQueue[tuple[int, str] | None]]] = {}
    for line in sys.stdin:
        number, name, sql = json.loads(line)
        if name not in threads:
            orders: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
            thread = threading.Thread(target=run, args=(name if Path(name).is_absolute() else path, orders), name=name)
            thread.start()
            threads[name] = thread, orders
        threads[name][1].put((number, sql))
    for thread, orders in threads.values():
        orders.put(None)
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
