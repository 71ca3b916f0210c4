"""Attention, from kernels to Transformers: the small module behind the book.

Shapes are written with one letter each: ``B`` batch, ``L`` queries (target length), ``S`` keys (source
length), ``E`` embed_dim, ``H`` num_heads, ``D`` head_dim, ``V`` vocabulary. The batch comes first, always.
A mask is boolean, and True means "may attend".

- ``kernels``: kernel functions, Nadaraya-Watson pooling, choosing and learning the width
- ``masking``: padding and causal masks, the masked softmax
- ``scoring``: how well a key answers a query: six score functions
- ``attention``: attention with any score, fused scaled dot-product attention, several heads
- ``positional``: sinusoidal and learned encodings of positions
- ``seq2seq``: recurrent encoder and decoders: without attention, after Bahdanau, after Luong
- ``transformer``: layers of the encoder and the decoder, the Transformer, its cache
- ``data``: vocabulary and batches; dates, a synchronous grammar, Tatoeba
- ``training``: one training loop
- ``decoding``: greedy and beam search, BLEU, alignment error rate
- ``plotting``: the book's figures
- ``explorers``: the book's interactive figures
- ``exercises``: checks that wait for the reader's answer

Importing this package loads none of them.
"""

__version__ = "0.1.0"
