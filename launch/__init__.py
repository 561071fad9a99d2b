"""Programs, one verb each: `radnet VERB` is `python launch/VERB.py`."""
