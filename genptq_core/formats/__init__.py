"""Formats: how an export's files are written and read, one module each.

`targets` says what a format can hold and what that takes, without torch; here it is done. A
format module has

    write(folder, model, stored) -> bytes of all stored parameters
    load(folder, name) -> a model that transcribes
"""
