"""Trains a small SentencePiece model and writes its vocabulary, as GGUF files keep it, with reference token ids.

    python scripts/reference/sentencepiece_vectors.py README.md crates/runtime/tests/reference/tokenizer/sentencepiece.json

The settings are those of Llama 2 and Mistral: BPE, bytes for unknown characters, a space in front, no normalisation. Needs
sentencepiece, which shares no code with the `tokenizers` crate our engine uses.
"""

import argparse
import io
import json
import pathlib

import sentencepiece

TEXTS = [
    "", " ", "a", "Hello, world!", " leading space", "trailing space ", "two  three   four    spaces", "\n", "\n\n  x\n",
    "line\nline\r\n\ttab", "The pass key is 71432. Remember it. 71432 is the pass key.", "1234567890 3.14159 -1e-10",
    "def f(x: int) -> int:\n    return x * f(x - 1)\n", "snake_case camelCase kebab-case o'clock",
    "ĂŽ naïve café — “quotes” … € 漢字 かな 한국어 Ελληνικά", "🙂👍🏽 e\u0301 \u200b\u00a0", "▁ spelt out ▁▁", "<s> </s> <unk> <0x0A>",
    "sparse attention keeps the mass; dense attention computes every pair, sparsely", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(arguments.text.read_text().splitlines()), model_writer=model, model_type="bpe",
        vocab_size=900, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, character_coverage=0.999, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.vocab_size())
    kind = lambda id: 2 if processor.is_unknown(id) else 3 if processor.is_control(id) else 6 if processor.is_byte(id) else 1
    vectors = {
        "tokens": [processor.id_to_piece(id) for id in ids], "scores": [round(processor.get_score(id), 4) for id in ids],
        "token_types": [kind(id) for id in ids], "bos": processor.bos_id(), "eos": processor.eos_id(),
        "texts": TEXTS, "ids": [processor.encode(text) for text in TEXTS],
        "decoded": [processor.decode(processor.encode(text)) for text in TEXTS],
        "made_by": f"sentencepiece {sentencepiece.__version__}"}
    arguments.out.write_text(json.dumps(vectors, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
