"""What every library's training step has in common."""

LEARNING_RATE = 0.01
MOMENTUM = 0.9

# So many losses are compared before anything is timed.
COMPARED_STEPS = 3
