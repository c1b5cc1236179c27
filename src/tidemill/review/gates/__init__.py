"""Quality gates: what a change must reach, by the repository's policy.

`measuring` reads reports, files and runs lizard; `judging` is a pure function over what that gave. A gate that can't
be measured says why, and fails only where the policy requires it. May import what `review` may.
"""
