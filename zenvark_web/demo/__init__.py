"""`zenvark-web demo`: a small fleet on this machine, an incident, and the reaction of the fleet.

All parts are real: a Redis-compatible server, an upstream that breaks and recovers, and apps that
call it through their breakers, each in a process of its own (`fleet`), with steady calls to the
apps over HTTP (`traffic`). The reaction of the fleet is measured with time stamps from those
processes and the log of the upstream (`watch`, `incident`).
"""
