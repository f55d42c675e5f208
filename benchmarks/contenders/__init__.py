"""The contenders. Each runs as a process of its own, told by `BENCH_*` variables what to do; `common.py` reads them."""
