"""The transfer helper: what runs on a MEC host so that bulk bytes go from host to host and never through the engine.

Pre-relocation starts one on each host over SSH and connects the two; in the downtime the engine sends the source's one
line and gets one back. So this package is a program of its own: it travels as a single zip file (`transfer.py` packs
it), runs under the host's `python3` (3.9 or newer) and may import nothing but the standard library and itself.

`main` reads commands and keeps the epoch, `wire` carries messages that cannot be taken as complete when they are cut,
`images` and `volumes` move the two kinds of state, `layers` merges image layers, `engine` speaks to the Docker Engine.
"""
