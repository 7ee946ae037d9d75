"""Training: state, steps, whole epochs on the device, optimisers by name, and run folders."""

from cnn_jax.train.batch import Batch
from cnn_jax.train.checkpoints import Checkpoint, Checkpoints
from cnn_jax.train.classifier import classifier
from cnn_jax.train.epoch import make_epoch
from cnn_jax.train.evaluate import evaluate, predict
from cnn_jax.train.fit import Fit, Progress, fit, iterate
from cnn_jax.train.held_out import HeldOut, evaluate_batches
from cnn_jax.train.loop import Loop, Moment
from cnn_jax.train.measures import accuracy, cross_entropy
from cnn_jax.train.named import MODELS, make_model
from cnn_jax.train.optimizers import OPTIMIZERS, optimizer
from cnn_jax.train.run import Run, RunWriter, check_new, load, new_run, reopen
from cnn_jax.train.schedules import SCHEDULES, schedule
from cnn_jax.train.state import State, create
from cnn_jax.train.step import make_step
from cnn_jax.train.sweep import SweepProgress, member, sweep
from cnn_jax.train.underway import Underway

__all__ = [
    "MODELS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Batch",
    "Checkpoint",
    "Checkpoints",
    "Fit",
    "HeldOut",
    "Loop",
    "Moment",
    "Progress",
    "Run",
    "RunWriter",
    "State",
    "SweepProgress",
    "Underway",
    "accuracy",
    "check_new",
    "classifier",
    "create",
    "cross_entropy",
    "evaluate",
    "evaluate_batches",
    "fit",
    "iterate",
    "load",
    "make_epoch",
    "make_model",
    "make_step",
    "member",
    "new_run",
    "optimizer",
    "predict",
    "reopen",
    "schedule",
    "sweep",
]
