"""Whether what the pipeline leaves is what it should be: looked at in samples, every hour.

`catalogue` says what is checked, `junk`, `archives` and `judging` decide, `looking` looks into the
stores, `checking` goes through the organizations. Figures and ids only, never what anybody said.
"""
