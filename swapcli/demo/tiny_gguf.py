"""Write a tiny, real GGUF model (llama architecture) that llama.cpp loads in milliseconds.

    write_tiny_gguf(TinyModel("alpha", stop=True), Path("alpha.gguf"))

The weights are random, except that each token's output row points at the embedding of the token said
before it. So the model recites one sentence that carries its name (which model answered is in the answer):
line after line until ``max_tokens``, or with ``stop`` once. Sampling picks the words, so temperature 0
gives the exact text. Mean-pooled embeddings behave as a bag of words: texts that share words are nearer.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .._extras import extra
from ._atomic import replacing

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from numpy.typing import NDArray

_SPACE = "\u2581"  # how a SentencePiece vocabulary spells the space before a word
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = (
    "the of and to in is you that it he was for on are as with his they be at one have this "
    "from or had by hot but some what there we can out other were all your when up use word how "
    "said an each she which do their time if will way about many then them would write like so "
    "these her long make thing see him two has look more day could go come did my sound no most "
    "number who over know water than call first people may down side been now find any new work "
    "part take get place made live where after back little only round man year came show every "
    "good me give our under name very through just form much great think say help low line before "
    "turn cause same mean differ move right boy old too does tell sentence set three want air well "
    "user assistant system hello world tool cat dog king queen red green blue fast slow"
)


def _is_recitable(instance: TinyModel, attribute: attrs.Attribute[str], value: str) -> None:
    words = instance.sentence.split()
    if not words or len(set(words)) != len(words):
        raise ValueError(f"the words of the sentence must all differ: {instance.sentence!r}")


@attrs.frozen
class TinyModel:
    """What a tiny model says, and how big it is. Equal values give files that are equal byte for byte.

    Raises:
      ValueError: a word comes twice in the sentence (each word has one successor), or the heads do not divide
        ``dim`` into even parts.
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    text: str = attrs.field(default="", kw_only=True, validator=_is_recitable)
    """The sentence it recites; empty: one that carries the name."""
    stop: bool = attrs.field(default=False, kw_only=True)
    """End the turn after one line, as a chat model does."""
    seed: int = attrs.field(default=1, kw_only=True)
    layers: int = attrs.field(default=2, kw_only=True)
    dim: int = attrs.field(default=128, kw_only=True)
    heads: int = attrs.field(default=4, kw_only=True)
    context: int = attrs.field(default=4096, kw_only=True)
    """Training context, in tokens, as the metadata gives it."""
    f16: bool = attrs.field(default=False, kw_only=True)
    """Half-precision matrices: half the size."""
    origin: str = attrs.field(default="", kw_only=True)
    """Added to the description in the metadata; whoever made the file may recognise it by this."""

    def __attrs_post_init__(self) -> None:
        if self.heads < 1 or self.dim % (2 * self.heads):
            raise ValueError(f"{self.heads} heads do not divide {self.dim} dimensions into even parts")

    @property
    def sentence(self) -> str:
        """What it recites."""
        return self.text or f"I am the tiny test model called {self.name} speaking nonsense words calmly ."

    @property
    def description(self) -> str:
        """What the metadata says about the file."""
        return f"tiny generated test model, seed {self.seed}" + (f", {self.origin}" if self.origin else "")


def write_tiny_gguf(model: TinyModel, path: Path) -> None:
    """Write ``model`` to ``path``, all or nothing: no reader ever sees half a file. Blocks, about 0.1 s.

    Raises:
      MissingExtra: the packages of the extra ``llama`` are not installed.
      OSError: the file cannot be written.
    """
    with extra("llama"):
        import gguf
    vocabulary = _vocabulary(model.sentence.split())
    with replacing(path) as unfinished:
        writer = gguf.GGUFWriter(unfinished, "llama")
        try:
            _add_metadata(writer, model, vocabulary)
            _add_tensors(writer, model, {row[0]: index for index, row in enumerate(vocabulary)})
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


_Row = tuple[str, int, float]
"""Text, kind and score of one token."""


def _vocabulary(said: Sequence[str]) -> list[_Row]:
    """Special tokens, all bytes, ASCII, and words with all their prefixes: the tokenizer merges pairwise."""
    from gguf import TokenType

    rows: list[_Row] = [("<unk>", TokenType.UNKNOWN, 0.0)]
    rows += [(text, TokenType.CONTROL, 0.0) for text in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")]
    rows += [(f"<0x{byte:02X}>", TokenType.BYTE, 0.0) for byte in range(256)]
    pieces = dict.fromkeys(_SPACE + string.ascii_letters + string.digits + string.punctuation)
    first, *others = said  # only the first word is said without a space before it
    for whole in (*_both_spellings(_WORDS.split()), first, *_both_spellings(others)):
        pieces.update(dict.fromkeys(whole[:end] for end in range(2, len(whole) + 1)))
    # Longer pieces score higher, so that merging ends with whole words.
    rows += [(piece, TokenType.NORMAL, len(piece) - 100.0) for piece in pieces]
    return rows


def _both_spellings(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield _SPACE + word
        yield word


def _add_metadata(writer: gguf.GGUFWriter, model: TinyModel, vocabulary: Sequence[_Row]) -> None:
    from gguf import LlamaFileType

    ids = {row[0]: index for index, row in enumerate(vocabulary)}
    writer.add_name(model.name)
    writer.add_description(model.description)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.dim)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(2 * model.dim)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.heads)
    writer.add_rope_dimension_count(model.dim // model.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if model.f16 else LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text, _, _ in vocabulary])
    writer.add_token_scores([score for _, _, score in vocabulary])
    writer.add_token_types([kind for _, kind, _ in vocabulary])
    writer.add_bos_token_id(ids["<s>"])
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_unk_token_id(ids["<unk>"])
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_CHAT_TEMPLATE)


def _add_tensors(writer: gguf.GGUFWriter, model: TinyModel, ids: dict[str, int]) -> None:
    import numpy as np

    rng = np.random.default_rng(model.seed)
    dim, ffn = model.dim, 2 * model.dim

    def random(*shape: int, spread: float = 0.01) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)

    def put(name: str, tensor: NDArray[np.float32]) -> None:
        writer.add_tensor(name, tensor.astype(np.float16) if model.f16 and tensor.ndim == 2 else tensor)

    # Dimension 0 of every embedding is 1, so that output column 0 is a bias; the rest is a unit vector.
    embedding = random(len(ids), dim, spread=1.0)
    embedding[:, 0] = 0
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    embedding[:, 0] = 1.0

    ones = np.ones(dim, dtype=np.float32)
    output = random(len(ids), dim)
    _teach_sentence(output, embedding, model, ids)
    put("token_embd.weight", embedding)
    put("output_norm.weight", ones)
    put("output.weight", output)
    for layer in range(model.layers):
        block = f"blk.{layer}."
        put(block + "attn_norm.weight", ones)
        put(block + "ffn_norm.weight", ones)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            put(f"{block}{part}.weight", random(dim, dim))
        put(block + "ffn_gate.weight", random(ffn, dim))
        put(block + "ffn_up.weight", random(ffn, dim))
        put(block + "ffn_down.weight", random(dim, ffn))


def _teach_sentence(
    output: NDArray[np.float32], embedding: NDArray[np.float32], model: TinyModel, ids: dict[str, int]
) -> None:
    """Change ``output`` so that each said token is followed by the next, any other token by the first."""
    import numpy as np

    first, *rest = model.sentence.split()
    script = [ids[first], *(ids[_SPACE + word] for word in rest), ids["<0x0A>"]]
    scale = np.float32(8.0 / np.sqrt(model.dim / 2.0))  # the final norm has length sqrt(dim / 2) a part
    output[:, 0] = -scale
    output[script[0], 0] = scale
    for here, then in zip(script, script[1:] + script[:1], strict=True):
        output[then, 1:] += 4 * scale * embedding[here, 1:]
    if model.stop:  # stronger than the line break that would follow
        output[ids["<|im_end|>"], 1:] += 6 * scale * embedding[script[-2], 1:]
