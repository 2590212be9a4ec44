"""A witness of logs (C2SP tlog-witness): a program with a key of its own, run by others than the log."""
