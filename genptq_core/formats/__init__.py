"""Formats: how the files of exports are written and read, one module per format.

What a format can hold, and in how many bytes, is in `targets`, which needs no torch. A module of a
format has

    write(folder, model, stored) -> bytes of all stored parameters
    load(folder, name) -> a model that transcribes
    overhead(model, settings) -> bytes of the files that a runtime reads besides the tensors
    FILES                 what it reads besides settings
"""
