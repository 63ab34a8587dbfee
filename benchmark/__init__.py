"""The experiment's way from a YAML file to records: plan, training, inference, metrics, scheduling."""
