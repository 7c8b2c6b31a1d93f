"""Backfills: what another prompt or model makes of sessions that were read before.

    create → (sessions are read again, their facts wait) → compare → ready → switch ⇄ revert
                                                                       └──→ discard

Facts are made by the pipeline's own way: extraction, redaction, trust, embedding. They wait in a
table that no reader of memories knows. exchanging.py lets them change places with what the same
sessions taught before, in one transaction, by the writer's own rules; comparing does the same and
takes it back. So the difference that is shown is what the switch does, and reverting is switching.
"""
