"""Every formula of the plan, pure, each with its source. Bytes, seconds, tokens; no rounding.

Sources: [ggml] block layouts in ggml-common.h; [quant] llama_tensor_get_type in llama.cpp's
llama-quant.cpp; [alloc] buffer sizes llama.cpp logs, reproduced by the tests at toy size;
[roofline] Williams et al., "Roofline", CACM 52(4), 2009: decoding reads every weight once a token;
[qlora] Dettmers et al., "QLoRA", 2023, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.hardware.shape import Shape

# type -> (weights a block, bytes a block) [ggml]
BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2),
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176),
    "Q6_K": (256, 210), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136),
}  # fmt: skip
# What a block of 256 falls back to when a row is not a multiple of 256 [quant].
FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
FALLBACK |= {"IQ4_XS": "IQ4_NL"}
QUANTISATIONS = ("Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
_BASE = {"Q3_K_M": "Q3_K", "Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K"}
_LAYERS_OF_70B = 80  # llama.cpp calls a model of 80 layers a 70B and gives its attn_v more bits
_GROUPED = 4  # query heads a key head from which [quant] gives attn_v more bits


@dataclass(frozen=True)
class Tensor:
    """One matrix: ``rows`` of ``width`` weights, ``copies`` times, in a layer (-1: none)."""

    kind: str
    width: int
    rows: int
    layer: int = -1
    copies: int = 1
    active: int = 1

    @property
    def weights(self) -> int:
        """How many weights it holds."""
        return self.width * self.rows * self.copies


def tensors(shape: Shape, layers: int | None = None) -> Iterator[Tensor]:
    """Name every matrix of a decoder (of its first ``layers``): attention, gate, embeddings."""
    yield Tensor("token_embd", shape.hidden, shape.vocab)
    if not shape.tied:
        yield Tensor("output", shape.hidden, shape.vocab)
    copies, active = max(1, shape.experts), max(1, shape.experts_used)
    for i in range(shape.layers if layers is None else layers):
        yield Tensor("attn_q", shape.hidden, shape.q_width, i)
        yield Tensor("attn_k", shape.hidden, shape.kv_width, i)
        yield Tensor("attn_v", shape.hidden, shape.kv_width, i)
        yield Tensor("attn_output", shape.q_width, shape.hidden, i)
        yield Tensor("ffn_gate", shape.hidden, shape.ffn, i, copies, active)
        yield Tensor("ffn_up", shape.hidden, shape.ffn, i, copies, active)
        yield Tensor("ffn_down", shape.ffn, shape.hidden, i, copies, active)
        yield Tensor("norms", 2 * shape.hidden, 1, i)
        if shape.experts:
            yield Tensor("router", shape.hidden, shape.experts, i)
    yield Tensor("norms", shape.hidden, 1)


def _more_bits(layer: int, layers: int) -> bool:
    """The layers that get more bits: first and last eighth, and every third between [quant]."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2  # noqa: PLR2004 - every third, as [quant] writes it


def tensor_type(tensor: Tensor, shape: Shape, quantisation: str, layer: int | None = None) -> str:
    """Return the type llama.cpp stores ``tensor`` in, without an importance matrix [quant]."""
    layer = tensor.layer if layer is None else layer
    if tensor.kind in {"norms", "router"}:
        return "F32"
    base = _BASE.get(quantisation, quantisation)
    chosen = base
    if tensor.kind == "output" or (tensor.kind == "token_embd" and shape.tied):
        chosen = base if base in {"F16", "Q8_0"} else "Q6_K"
    elif tensor.kind == "attn_v":
        chosen = _attn_v(layer, shape, quantisation, base)
    elif tensor.kind == "ffn_down":
        chosen = _ffn_down(layer, shape.layers, quantisation, base)
    elif tensor.kind == "attn_output":
        chosen = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K"}.get(quantisation, base)
    return chosen if tensor.width % BLOCKS[chosen][0] == 0 else FALLBACK.get(chosen, "F16")


def _attn_v(layer: int, shape: Shape, quantisation: str, base: str) -> str:
    grouped = shape.heads // shape.kv_heads >= _GROUPED
    chosen = base
    if quantisation == "Q2_K":
        chosen = "Q4_K" if grouped else "Q3_K"
    elif quantisation == "Q3_K_M":
        chosen = "Q5_K" if layer < 2 else "Q4_K"  # noqa: PLR2004 - the first two, as [quant] writes it
    elif quantisation == "IQ4_XS" and grouped:
        chosen = "Q5_K"
    elif quantisation in {"Q4_K_M", "Q5_K_M"} and _more_bits(layer, shape.layers):
        chosen = "Q6_K"
    if shape.layers == _LAYERS_OF_70B and chosen in {"Q3_K", "Q4_K"}:
        chosen = "Q5_K"
    return chosen


def _ffn_down(layer: int, layers: int, quantisation: str, base: str) -> str:
    if quantisation == "Q2_K":
        return "Q3_K"
    if quantisation == "Q3_K_M":
        return "Q5_K" if layer < layers // 16 else "Q4_K"
    if quantisation == "IQ4_XS" and layer < layers // 8:
        return "Q5_K"
    if quantisation in {"Q4_K_M", "Q5_K_M"} and _more_bits(layer, layers):
        return "Q6_K"
    return base


def stored(weights: int, kind: str) -> int:
    """Bytes of ``weights`` weights stored as ``kind`` [ggml]."""
    block, size = BLOCKS[kind]
    return -(-weights // block) * size


def tensor_bytes(tensor: Tensor, shape: Shape, quantisation: str) -> int:
    """Bytes of one tensor at a quantisation."""
    return stored(tensor.weights, tensor_type(tensor, shape, quantisation))


def parameters(shape: Shape) -> int:
    """How many weights the model has."""
    return sum(t.weights * _repeats(t, shape) for t in tensors(shape, layers=1))


def _repeats(tensor: Tensor, shape: Shape) -> int:
    return shape.layers if tensor.layer >= 0 else 1


def active_parameters(shape: Shape) -> int:
    """How many weights take part in one token (all, but for mixtures of experts)."""
    return sum(
        t.weights * t.active // t.copies * _repeats(t, shape) for t in tensors(shape, layers=1)
    )


@dataclass(frozen=True)
class Weights:
    """Bytes of a model: in all, of each layer, of the output, and of the input embedding.

    llama.cpp keeps the input embedding in main memory even when every layer is on a card; with
    tied embeddings the card has a copy as its output.
    """

    total: int
    layer: tuple[int, ...]
    output: int
    embedding: int
    experts: int

    def read(self, shape: Shape, users: int = 1) -> float:
        """Bytes read to decode one token for each of ``users`` at once.

        All of a dense model once; of a mixture the experts that ``users`` independent draws of
        ``experts_used`` out of ``experts`` touch on average.
        """
        dense = sum(self.layer) + self.output - self.experts
        if not shape.experts:
            return float(dense)
        missed = (1 - shape.experts_used / shape.experts) ** users
        return dense + self.experts * (1 - missed)


def weights(shape: Shape, quantisation: str) -> Weights:
    """Return where the bytes of the weights lie.

    Layers differ only in the types of two matrices, so those alone are looked at layer by layer.
    """
    output = embedding = alike = experts = 0
    varying: list[Tensor] = []
    for tensor in tensors(shape, layers=1):
        size = tensor_bytes(tensor, shape, quantisation)
        if tensor.kind == "token_embd":
            embedding = size
            output += size if shape.tied else 0
        elif tensor.layer < 0:
            output += size
        elif tensor.kind in {"attn_v", "ffn_down"}:
            varying.append(tensor)
        else:
            alike += size
            experts += shape.layers * size if tensor.copies > 1 else 0
    layer = []
    for i in range(shape.layers):
        own = alike
        for tensor in varying:
            size = stored(tensor.weights, tensor_type(tensor, shape, quantisation, i))
            own += size
            experts += size if tensor.copies > 1 else 0
        layer.append(own)
    total = sum(layer) + output + (0 if shape.tied else embedding)
    return Weights(total, tuple(layer), output, embedding, experts)


def cache_bytes_a_token(shape: Shape, cache: str) -> int:
    """Bytes of keys and values of one token over all layers: 2 x layers x KV width x bytes.

    Llama-3.1-70B: 80 x 8 x 128 x 2 x 2 B = 320 KiB in fp16.
    """
    return 2 * shape.layers * stored(shape.kv_width, "Q8_0" if cache == "q8_0" else "F16")


def cache_bytes(shape: Shape, tokens: int, cache: str, users: int = 1) -> int:
    """Bytes of the cache of ``users`` contexts of ``tokens``, padded to 256 each [alloc].

    Layers with a sliding window keep the window and one batch of 512 only.
    """
    one_layer = 2 * stored(shape.kv_width, "Q8_0" if cache == "q8_0" else "F16")
    padded = -(-tokens // 256) * 256
    whole = shape.layers
    short = 0
    if shape.sliding_window and shape.global_every:
        whole = shape.layers // shape.global_every
        short = shape.layers - whole
    window = min(padded, -(-(shape.sliding_window + 512) // 256) * 256)
    return users * one_layer * (whole * padded + short * window)


def compute_bytes(
    shape: Shape, tokens: int, *, batch: int = 512, flash: bool = True, cache: str = "f16"
) -> int:
    """Bytes of llama.cpp's compute buffer: its largest moment [alloc].

    Of three moments the largest counts: attention (the scores of every head unless flash
    attention is on), the gated feed-forward (with one row less alive when the cache is quantised),
    the logits of a whole batch. ``tokens`` is the
    number of cells of the whole cache; an expert model runs ``experts_used`` feed-forwards.
    """
    batch = min(batch, tokens)
    cells = -(-tokens // 256) * 256
    row = 4 * batch
    mask = cells * batch * (2 if flash else 4)
    ffn = shape.ffn * max(1, shape.experts_used)
    attention = 5 * shape.q_width * row + 2 * shape.kv_width * row
    if not flash:
        attention += shape.heads * cells * row
    alive = 4 if cache == "f16" else 3
    feed_forward = (3 * ffn + alive * shape.hidden) * row
    logits = (shape.vocab + 2 * shape.hidden) * row
    return max(mask + attention, mask + feed_forward, logits)


def step_seconds(read_bytes: float, bandwidth: float, efficiency: float) -> float:
    """Seconds to read ``read_bytes`` at ``bandwidth`` bytes a second [roofline]."""
    return read_bytes / (bandwidth * efficiency)


def prompt_seconds(flops: float, rate: float, cards: int, chunks: int) -> float:
    """Seconds to read a prompt of ``flops`` cut in ``chunks`` over ``cards`` in a row.

    Cards hold successive layers, so the first chunk passes all of them before the pipeline is
    full: (chunks + cards - 1) stages of flops / (chunks x cards) each.
    """
    return (chunks + cards - 1) * flops / (chunks * cards * rate)


def prompt_flops(shape: Shape, tokens: int) -> float:
    """Floating-point operations to read a prompt: 2 a weight a token, and attention's square.

    Kaplan et al., "Scaling Laws", 2020, section 2.1: 2N + 2 x layers x context x width a token;
    the embedding is a look-up and the output is asked for the last token only.
    """
    matrices = active_parameters(shape) - shape.vocab * shape.hidden * (1 if shape.tied else 2)
    return 2.0 * matrices * tokens + 2.0 * shape.layers * tokens * tokens * shape.q_width


NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)  # [qlora]: 4 bits, 8-bit scales a 64, fp32 scales of scales
_LORA_BYTES = 6  # bf16 weight and gradient, two 8-bit Adam moments a trainable weight


def lora_parameters(shape: Shape, rank: int) -> int:
    """Trainable weights of rank-``rank`` adapters on all seven matrices: rank x (in + out)."""
    kinds = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}
    one = (
        rank * (t.width + t.rows) * t.copies for t in tensors(shape, layers=1) if t.kind in kinds
    )
    return shape.layers * sum(one)


def qlora_bytes(shape: Shape, *, rank: int = 16, batch: int = 1, tokens: int = 512) -> int:
    """Bytes of card memory to train by QLoRA: NF4 matrices, 16-bit embeddings, adapters, one layer.

    Checkpointed activations wait in main memory (Unsloth), so one layer's are held at a time; the
    loss is computed in pieces. Published minima: 8B 6 GB, 70B 41 GB.
    """
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    matrices = parameters(shape) - embeddings
    width = 4 * shape.hidden + 2 * shape.q_width + 2 * shape.kv_width + 3 * shape.ffn
    held = 2 * batch * tokens * width
    adapters = lora_parameters(shape, rank) * _LORA_BYTES
    return round(matrices * NF4_BITS / 8) + embeddings * 2 + adapters + held
