"""Evaluation: the protocols' figures and the evaluator that reports them."""

from ovavss_d2.evaluation.evaluator import AVSSEvaluator, per_frame

__all__ = ["AVSSEvaluator", "per_frame"]
