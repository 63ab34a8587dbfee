"""Where the curves and pictures of a trial go: TensorBoard, Weights & Biases, MLflow, or a file of the user's own."""
