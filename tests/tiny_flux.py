"""The sizes of a FLUX that trains in milliseconds: the start of a configuration; further keys of [model] may follow."""

TINY_MODEL = """
[model]
flavor = "flux-debug"
hidden_size = 32
num_heads = 2
depth = 1
depth_single_blocks = 1
context_in_dim = 16
vec_in_dim = 16
"""
