"""Other programs that replicate PostgreSQL, on the same backlog and the same table as ours.

A module for each: NAME; VERSION; install(folder), which gets it into that folder, once; and
backlog(bench, peer) and snapshot(bench, peer), which run it once and give Figures. All three raise
Failed with the peer's own words where it does not work, or with the reason why it can't.
"""
