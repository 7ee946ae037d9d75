"""Benchmarks of cnn_jax: `python -m benchmarks`, or one of .naive, .kernels, .training, .scaling.

How they measure:

- Every contender has a process of its own, pinned to the same CPUs with as many threads as CPUs
  (affinity, and the variables and calls by which libraries are told). One works at a time; the
  others sleep in `read`. PyTorch's and XLA's threads keep their own way of waiting: both stop
  spinning within a millisecond or so, and a contender whose turn is over was seen to use no
  processor time.
- Results are compared before anything is timed. Who differs is not timed, and the row says how.
- Rounds are interleaved: in each, every contender has one turn, which begins with runs that don't
  count, and in each the order moves on by one. A turn yields the median of its runs; tables show
  the median of the turns and half the distance of their quartiles.
- Ratios are medians of the ratios within a round, so that what slows a whole round cancels. A
  tilde marks a ratio whose middle half has 1 in it: the spread swallows the difference.
- Compiled code is never taken from a cache on disk, so that compile times are those of a first run.
- JSON files hold every sample, the machine, the load on it, all versions and the commit.
"""
