"""A file for each parser: `check(data)` reads anything, and raises only where the parser is wrong.

What a parser may say to bad bytes is its typed error, and what it accepts it must write as it was read.
`seeds()` are real material to begin from.
"""
