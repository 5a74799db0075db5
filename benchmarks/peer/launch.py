"""Starts one process, waits for it and writes what it used as JSON: `launch.py OUT WORD…`.

It is small on purpose: until a new process has loaded its program, the system counts the memory of
the one that started it as its own.
"""

import json
import os
import sys
import time


def main() -> None:
    out, *words = sys.argv[1:]
    started_s = time.perf_counter()
    child = os.posix_spawnp(words[0], words, os.environ)
    _, status, used = os.wait4(child, 0)
    duration_s = time.perf_counter() - started_s
    cost = {
        "duration_s": duration_s,
        "user_s": used.ru_utime,
        "system_s": used.ru_stime,
        "peak_rss_bytes": used.ru_maxrss * 1024,
    }
    with open(out, "w", encoding="ascii") as file:
        json.dump(cost, file)
    sys.exit(os.waitstatus_to_exitcode(status) and 1)


if __name__ == "__main__":
    main()
