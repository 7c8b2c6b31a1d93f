"""What becomes of two statements about the same: pure rules, and no word of them in a verdict."""

from ibex.memory.conflicts.judging import MEET, judge, keeps_figures
from ibex.memory.conflicts.model import Resolution, Statement, Verdict

__all__ = ["MEET", "Resolution", "Statement", "Verdict", "judge", "keeps_figures"]
