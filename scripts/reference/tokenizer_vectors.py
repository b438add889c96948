"""Writes reference token ids of a GGUF vocabulary, computed by llama.cpp on the same file.

    python scripts/reference/tokenizer_vectors.py models/SmolLM2-135M-Instruct.Q4_1.gguf \
        crates/runtime/tests/reference/tokenizer/smollm2.json --pre gpt-2 default qwen2 llama-bpe

Needs llama-cpp-python, which shares no code with the `tokenizers` crate our engine uses. `--pre` tokenizes again on the
same vocabulary with other pre-tokenizers put in place of the file's own: their rules are tested without their models.

llama.cpp does not bring text to Unicode NFC for `qwen2`; the model's authors do, and so do we. So the script normalises
such text before llama.cpp sees it, and stores it as it was.
"""

import argparse
import json
import pathlib
import unicodedata

import llama_cpp

TEXTS = [
    # Words
    "",
    " ",
    "a",
    "Hello, world!",
    " leading space and trailing space ",
    "The pass key is 71432. Remember it. 71432 is the pass key.",
    "I'm sure they've said it's what we'd want; you'll see, they're late, don't.",
    "I'M SURE THEY'VE SAID IT'S WHAT WE'D WANT; YOU'LL SEE, THEY'RE LATE.",
    "o'clock rock'n'roll 'tis '90s ''quoted'' they'd've",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case",
    "https://example.org/a/b?c=d&e=%20#f user@example.org",
    "Antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    # Digits and numbers
    "0",
    "1234567890",
    "3.14159 -1e-10 0x1F 1,000,000 12:34:56 2024-01-31 +49 (0)30 1234567",
    "a1b22c333d4444e55555",
    "½ ² ³ ① Ⅷ ٠١٢٣٤٥٦٧٨٩ ०१२३ 𝟘𝟙𝟚 ㊿",
    # White space
    "two  three   four    five     spaces",
    "\ttab\t\ttwo tabs\t \t mixed",
    "\n",
    "\n\n\n",
    "line\nline\r\nline\rline\n\n\nlast\n",
    "   \n   \n\t\n  text   \n",
    "ends with spaces    ",
    "ends with newline and spaces\n    ",
    "no\u00a0break em\u2003space ideographic\u3000space thin\u2009space\u2028line\u2029paragraph\u0085next",
    # Code
    "def f(x: int) -> int:\n    if x <= 1:\n        return 1\n    return x * f(x - 1)\n",
    "fn main() {\n\tlet v: Vec<u32> = (0..10).map(|i| i * i).collect();\n\tprintln!(\"{v:?}\");\n}\n",
    '{"a": [1, 2.5, null, true], "b": {"c": "\\u00e9\\n"}}',
    "for(i=0;i<n;++i){a[i]+=b[i]*c[i];}//done",
    "SELECT * FROM t WHERE a >= 10 AND b <> 'x''y';--comment",
    "<div class=\"a b\">&nbsp;</div><!-- -->",
    "$$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$$",
    "!!! ??? ... --- === *** ### ((())) [[[]]] {{{}}} <<<>>> |||",
    " !  !!   !!! a!b ! c",
    "+-*/=<>^~|`@#$%&\\",
    # Scripts of the world
    "Äpfel, Öl, Übermut, Straße; café, naïve, piñata, Ærø, Łódź, ığdır",
    "e\u0301 a\u0308 n\u0303 o\u0302\u0323 \u1e9b\u0323 \u212b \ufb01 \u0132",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031ealgo",
    "Привет, мир! Съешь же ещё этих мягких французских булок.",
    "Ελληνικά: ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "今天天气很好,我们去公园吧。人工智能2024年",
    "東京は日本の首都です。カタカナ、ひらがな、ー〜",
    "안녕하세요 세계! 한국어 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "שלום עולם! מה שלומך?",
    "مرحبا بالعالم! السَّلامُ عَلَيْكُمْ \u200f(\u200ertl\u200f)",
    "नमस्ते दुनिया! क्षत्रिय ज्ञान",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง",
    "Tiếng Việt: Trường đại học, người, nguyễn",
    "ქართული հայերեն አማርኛ ᏣᎳᎩ ᚠᚢᚦ",
    "𝕳𝖊𝖑𝖑𝖔 𐍈 𠀀𠮷 𒀀",
    # Emoji
    "😀😃😄 👍🏽 ❤️ ☺ ✈️",
    "👨‍👩‍👧‍👦 👩🏾‍💻 🏳️‍🌈 🇩🇪🇯🇵 1️⃣ #️⃣",
    "a😀b 😀 ,😀, 9😀9",
    # Special tokens, whole, broken and in a row
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "a<|endoftext|>b <|endoftext|> c<|im_end|><|im_end|>",
    "<|im_start> <|im_end <|im_|> |endoftext| <repo_name> <tool_call>{}</tool_call>",
    # Long and odd
    "a" * 300,
    " " * 100 + "x" + " " * 33,
    "\n" * 50 + "x",
    "ab" * 120,
    "=" * 129 + " " + "-" * 77,
    "0" * 64,
    "😀" * 20,
    "\x00\x01\x02\x1b[31m\x7f\x80\x9f",
    "\ufeffbom zero\u200bwidth soft\u00adhyphen \ufffd replacement \ufffe \U000f0000 \U0010ffff",
    "word " * 60,
]


def load(path, pre=None):
    overrides = {"tokenizer.ggml.pre": pre} if pre else None
    return llama_cpp.Llama(model_path=str(path), vocab_only=True, kv_overrides=overrides, verbose=False)


def ids(model, pre):
    normalise = (lambda text: unicodedata.normalize("NFC", text)) if pre == "qwen2" else (lambda text: text)
    return [model.tokenize(normalise(text).encode(), add_bos=False, special=True) for text in TEXTS]


def ends_of_generation(model):
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    return [id for id in range(model.n_vocab()) if llama_cpp.llama_vocab_is_eog(vocabulary, id)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--pre", nargs="*", default=[], help="other pre-tokenizers to run on this vocabulary")
    arguments = parser.parse_args()

    model = load(arguments.gguf)
    own = model.metadata["tokenizer.ggml.pre"]
    vectors = {
        "made_by": f"llama-cpp-python {llama_cpp.__version__}",
        "file": arguments.gguf.name,
        "vocab_size": model.n_vocab(),
        "ends_of_generation": ends_of_generation(model),
        "texts": TEXTS,
        "ids": {own: ids(model, own)} | {pre: ids(load(arguments.gguf, pre), pre) for pre in arguments.pre},
    }
    # One line a text: a change shows which.
    lines = json.dumps(vectors, ensure_ascii=True, separators=(",", ":"))
    for break_before in ['"texts":', '"ids":', *(f'"{pre}":' for pre in vectors["ids"])]:
        lines = lines.replace("," + break_before, ",\n" + break_before)
    arguments.out.write_text(lines.replace("],[", "],\n[") + "\n")
    print(f"{len(TEXTS)} texts, {len(vectors['ids'])} pre-tokenizers")


if __name__ == "__main__":
    main()
