"""`zenvark-web demo`: a small fleet on this machine, an incident, and what the fleet makes of it.

Every part runs for real: a Redis-compatible server, an upstream that breaks and is mended, and
apps that call it through their breakers, each in a process of its own (`fleet`), with steady calls
to the apps over HTTP (`traffic`). What the fleet did is told by time stamps taken in those
processes, and by the upstream's own log (`watch`, `incident`).
"""
