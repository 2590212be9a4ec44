"""`make demo`: a region on this machine, real jobs, a crash in the middle, and the proof of what happened."""
