"""Changes the head of a real GGUF file many times, and compares who reads it: this engine's program and llama.cpp.

    python scripts/reference/gguf_mutants.py models/SmolLM2-135M-Instruct.Q4_1.gguf target/release/sparse-accelerate 1000

Needs gguf and llama-cpp-python. A fault is a panic, a signal, a run of over 20 s, over 2 GB; each ends the script with 1. Files
that the program answers from and llama.cpp refuses are listed: whether one matters is for a reader to say.
"""

import argparse
import pathlib
import random
import resource
import subprocess
import sys
import tempfile

import gguf

SECONDS = 20
ADDRESS_SPACE_BYTES = 2 << 30
# What llama.cpp is asked in a process of its own, which a bad file may end.
REFERENCE = """
import sys, llama_cpp
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), llama_cpp.llama_model_default_params())
sys.exit(model is None)
"""


def head_parts(path):
    """Where the tensor data begins, and parts of the head: metadata that is not the vocabulary, and the tensors' names."""
    reader = gguf.GGUFReader(path)
    short = [(int(field.offset), sum(int(part.nbytes) for part in field.parts)) for field in reader.fields.values()]
    short = [(0, 24)] + [(at, size) for at, size in short if size < 4096]
    infos = [(int(tensor.field.offset), sum(int(part.nbytes) for part in tensor.field.parts)) for tensor in reader.tensors]
    return int(reader.data_offset), short + infos


def change(head, parts, rng):
    """One to three changes that keep the length."""
    head = bytearray(head)
    what = []
    for _ in range(rng.randint(1, 3)):
        begin, size = rng.choice(parts) if rng.random() < 0.8 else (0, len(head))
        at = begin + rng.randrange(max(size, 1))
        new = rng.choice([bytes([rng.randrange(256)]), bytes([head[at] ^ 1 << rng.randrange(8)]),
                          rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1]).to_bytes(8, "little")[:rng.choice([1, 4, 8])]])
        new = new[: len(head) - at]
        what.append(f"{at}: {bytes(head[at:at + len(new)]).hex()} -> {new.hex()}")
        head[at:at + len(new)] = new
    return bytes(head), ", ".join(what)


def run(command):
    """Exit status (None: too long) and the end of what it said."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, preexec_fn=limit)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stderr.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data_offset, parts = head_parts(arguments.model)
    rng = random.Random(arguments.seed)
    faults, answered, differ = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "changed.gguf"
        path.write_bytes(arguments.model.read_bytes())
        with path.open("rb") as file:
            head = file.read(data_offset)
        ours = [str(arguments.program), "generate", "--model", str(path), "--prompt", "hello", "--max-tokens", "1",
                "--attention", "dense", "--device", "cpu", "--threads", "1"]
        reference = [sys.executable, "-c", REFERENCE, str(path)]
        assert run(ours)[0] == 0 and run(reference)[0] == 0, "both read the file as it is"
        for n in range(arguments.count):
            changed, what = change(head, parts, rng)
            with path.open("r+b") as file:
                file.write(changed)
            status, said = run(ours)
            if status not in (0, 1) or "panicked" in said:
                faults += 1
                print(f"FAULT {n}: exit {status} with {what}: {said[-300:]}", flush=True)
            if status == 0:
                answered += 1
                refused, why = run(reference)
                if refused != 0:
                    differ += 1
                    reasons = [line for line in why.splitlines() if "error" in line.lower() or "assert" in line.lower()]
                    print(f"only we {n}: {what}: {(reasons or why.splitlines() or ['no reason'])[0][:200]}", flush=True)
            if (n + 1) % 100 == 0:
                print(f"{n + 1} files: {answered} answered from, {differ} of them refused by llama.cpp, {faults} faults", flush=True)
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
