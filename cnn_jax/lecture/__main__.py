"""`python -m cnn_jax.lecture` is `cnn-jax lecture`."""

import sys

from cnn_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["lecture", *sys.argv[1:]]))
