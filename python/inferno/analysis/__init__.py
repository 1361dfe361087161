"""What a model folder holds and what this machine can do with it: told before a weight is read.

`analyze_folder` makes a Report, `make_plan` a Plan from it. Loading a model is both, and then the first error raised:
what they promise is what a load does.
"""

from __future__ import annotations

from inferno.analysis.analyze import analyze, analyze_folder
from inferno.analysis.plan import Plan, make_plan
from inferno.analysis.report import Report, TensorInfo

__all__ = ["Plan", "Report", "TensorInfo", "analyze", "analyze_folder", "make_plan"]
