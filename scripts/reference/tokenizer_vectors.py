"""Writes token ids of varied strings, by llama.cpp's tokenizer on the vocabulary of a GGUF file.

    python scripts/reference/tokenizer_vectors.py models/SmolLM2-135M-Instruct.Q4_1.gguf \
        crates/runtime/tests/reference/tokenizer/smollm2.json

Needs llama-cpp-python.
"""

import argparse
import json
import pathlib

import llama_cpp

STRINGS = [
    "", " ", "  ", "a", " a", "a ", "\n", "\n\n", " \n", "\t", "\t\tx", "    indented", "trailing   ",
    "Hello, world!", "The quick brown fox jumps over the lazy dog.", "HELLO hello HeLLo", "I'll we've it's can't DON'T you'd",
    "0", "7", "42", "1234567890", "3.14159", "1,000,000", "2026-11-23T10:15:00Z", "v1.2.3-rc4", "x2y3z4", "1 2 3",
    "def f(x):\n    return x * 2\n", "fn main() { println!(\"{}\", 1 + 2); }", "if (a != b && c >= d) { e->f(); }",
    "<div class=\"x\">text</div>", "SELECT * FROM t WHERE a = 'b';", "snake_case camelCase kebab-case", "a/b/c.txt", "C:\\path\\file",
    "https://example.org/a?b=c&d=e#f", "user@example.org", "!!!???...", "---===***", "()[]{}<>", "\"quoted\" 'single'",
    "naïve café résumé", "Ärger über Öl", "¿Qué? ¡Sí!", "Привет, мир", "Γειά σου", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया",
    "你好，世界", "こんにちは世界", "안녕하세요 세계", "ไทย", "🙂", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "a🙂b", "∑∫√∞≠≤", "½ ² ³ Ⅷ ٣",
    "\u00a0nbsp\u2003em", "\u200bzero", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\r\nwindows\r\n", "a\rb", "\x00\x01\x7f",
    "<|im_start|>user\nHi<|im_end|>\n", "text<|endoftext|>more", "<|not_special|>", "word\n\n\nword", " \t \n mixed", "mixed 中文 and English 123",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()
    model = llama_cpp.Llama(str(arguments.gguf), vocab_only=True, verbose=False)
    rows = [{"text": s, "ids": model.tokenize(s.encode(), add_bos=False, special=True)} for s in STRINGS]
    lines = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    made_by = json.dumps(f"llama-cpp-python {llama_cpp.__version__}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(f'{{"made_by":{made_by},"rows":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
