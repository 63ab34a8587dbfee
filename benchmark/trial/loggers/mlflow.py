"""MLflow. It runs in a process of its own, see process.py."""

import os
import re
from pathlib import Path

import mlflow


class Logger:
    """One run a trial. The experiment is that of MLFLOW_EXPERIMENT_NAME, else the name of the results folder. The store
    is that of MLFLOW_TRACKING_URI, else the folder mlruns of the results folder."""

    def start(self, run):
        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri((Path(run.folder) / "mlruns").as_uri())
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.project))
        mlflow.start_run(run_name=run.trial)
        mlflow.log_params(run.settings)

    def scalars(self, step, values):
        mlflow.log_metrics({_allowed(name): value for name, value in values.items()}, step=step)

    def image(self, step, name, picture):
        mlflow.log_image(picture, key=_allowed(name), step=step)

    def end(self, step, results):
        self.scalars(step, results)
        mlflow.end_run()


def _allowed(name):
    """The name without characters that MLflow refuses."""
    return re.sub(r"[^\w./ -]", "", name)
