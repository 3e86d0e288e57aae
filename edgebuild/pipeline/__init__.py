"""A build from top to bottom: from what a request names to files in the user's folder.

In the order of a build: `sources` (what the request names), `prepare` (what all targets share), `usable` (what a target
never takes), `compress`, `convert`, `evaluate` (with `devices`, `places` and `figures`), `package`, `publish`; `build`
walks them, and `pursue` walks on where a strategy proposes more. `asking` makes the actions that they submit, and
`artifacts` holds what these take and leave. The other modules are of commands that look at artifacts built before:
check, bench, calibrate, diff, doctor.
"""
