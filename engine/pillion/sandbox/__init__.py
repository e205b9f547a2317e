"""The embedded MEC sandbox: a small city whose vehicles drive, attach to points of access, and can be asked about.

It stands in for ETSI's hosted one (same URLs, JSON, movement and attachment rules), and adds what a test needs and a
real network never gives: a drive that starts on demand, and the truth of every handover. Reading order: `scenario.py`,
`movement.py`, `attachment.py`, `world.py` (pure), then `live.py`, `api.py`, `control.py`, `server.py`.
"""
