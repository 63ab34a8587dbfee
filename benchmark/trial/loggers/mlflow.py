"""MLflow. It runs in a process of its own, see process.py."""

import os
import re
import time
from pathlib import Path

import mlflow
from mlflow.entities import Metric

TOGETHER = 200  # numbers in one request


class Logger:
    """One run a trial. The experiment is that of MLFLOW_EXPERIMENT_NAME, else the name of the results folder. The store
    is that of MLFLOW_TRACKING_URI, else the folder mlruns of the results folder."""

    def start(self, run):
        if "MLFLOW_TRACKING_URI" not in os.environ:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # else MLflow 3 asks for a database
            mlflow.set_tracking_uri((Path(run.folder) / "mlruns").as_uri())
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.project))
        self._run_id = mlflow.start_run(run_name=run.trial).info.run_id
        self._waiting = []
        mlflow.log_params(run.settings)

    def scalars(self, step, values):
        now = int(1000 * time.time())
        self._waiting += [Metric(_allowed(name), value, now, step) for name, value in values.items()]
        if len(self._waiting) >= TOGETHER:
            self._send()

    def image(self, step, name, picture):
        mlflow.log_image(picture, key=_allowed(name), step=step)

    def end(self, step, results):
        self.scalars(step, results)
        self._send()
        mlflow.end_run("FINISHED" if results else "KILLED")

    def _send(self):
        mlflow.MlflowClient().log_batch(self._run_id, metrics=self._waiting)
        self._waiting = []


def _allowed(name):
    """The name without characters that MLflow refuses."""
    return re.sub(r"[^\w./ -]", "", name)
