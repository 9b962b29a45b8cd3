"""The five steps of an evaluation: one file and one public function each, named as in MLflow."""
