"""
A program that has others work for it, in the ways that the standard library offers.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from shop import emit, ends  # type: ignore[import-not-found]  # It lies beside this file.


def main(method: str) -> None:
    """
    Start processes by *method*, after having logged something.
    """
    emit(100, "parent")
    # Any: for a method that is not known by name, the types know of no Process.
    context: Any = multiprocessing.get_context(method)
    children = [context.Process(target=emit, args=(300, "process")) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    with context.Pool(2) as pool:
        pool.starmap(emit, [(10, "pool")] * 30)
        # Else the end of the block ends them by SIGTERM.
        pool.close()
        pool.join()
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(emit, [10] * 30, ["executor"] * 30))
    emit(100, "parent")
    ends()


if __name__ == "__main__":
    main(sys.argv[1])
