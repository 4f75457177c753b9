"""Qwen2.5's vocabulary as a tiktoken plugin: `tiktoken.get_encoding("qwen2.5")`, offline.

`tiktoken_ext` is a namespace package: tiktoken imports every module it finds in it and calls
what `ENCODING_CONSTRUCTORS` names, so installing this project is all the registration there is.
"""

from immune_data.contract.vocabulary import qwen2_5

ENCODING_CONSTRUCTORS = {"qwen2.5": qwen2_5}
