"""Weights & Biases. It runs in a process of its own, see process.py."""

import os

import wandb


class Logger:
    """One run a trial. The project is that of WANDB_PROJECT, else the name of the results folder."""

    def start(self, run):
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.project), name=run.trial, group=run.settings.get("method"),
            config=run.settings, dir=run.folder, settings=wandb.Settings(console="off"),
        )  # fmt: skip

    def scalars(self, step, values):
        self._run.log(values, step=step)

    def image(self, step, name, picture):
        self._run.log({name: wandb.Image(picture)}, step=step)

    def end(self, step, results):
        self._run.summary.update(results)
        self._run.finish(exit_code=0 if results else 1)
