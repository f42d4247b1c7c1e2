"""Writes fixtures/ from nothing. Deterministic: two runs give the same bytes."""
import os, shutil, sys
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import transformers
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
import common, layouts

STRINGS = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n ", "\t", "a", " a", "  a", "a ", "a  ", "a  b", "a   b    c", "Hello world",
    " Hello world", "Hello  world ", "hello\nworld", "\nhello", "hello\n", "line one\r\nline two", "tab\tseparated", "USER: ",
    "USER: What is in this image? ASSISTANT:", "ASSISTANT: A small red square on a table.", "<image>", " <image>",
    "<image> ", "<image>\nWhat is it?", "<image> What", "<image>  What", "USER: <image>\nWhat ASSISTANT:",
    "<image><image>", "a<image>b", "< image >", "<image", "</s>", "a</s>b", "a </s> b", "<s>", "<s>hello", "<unk>", "<pad>",
    "<pad>x", "<0x0A>", "é", "e\u0301", "naïve café", "Zürich", "日本", "中文字", "日本語のテキスト", "Привет", "مرحبا",
    "🙂", "👨‍👩‍👧", "a🙂b 🙂", "\u00a0", "\u2581", "a\u2581b", "\u200b", "ﬁ", "１２", "0123456789", "3.14159", "don't",
    "x=1;y=2", "THE QUICK", "aaaaaaaaaaaaaaaa", "\x00", "\x7f", "\ufffd", "  return x  # two  spaces", common.SYSTEM]


def tokenizer_fixture(tokens):
    rows = [dict(text=s, sentencepiece=tokens.sp.encode(s), legacy=tokens.hf(s, "legacy", False),
                 metaspace=tokens.hf(s, "metaspace", False)) for s in STRINGS]
    for r in rows:  # decoding: what the library gives back
        r["decoded"] = tokens.sp.decode(r["sentencepiece"])
    common.write_json(f"{common.OUT}/tokenizer/expected.json", dict(
        sentencepiece="tokenizer.model through the sentencepiece library: no special token is parsed from text",
        legacy="tokenizer.legacy.json, legacy=True (Prepend + Replace normalizer), add_special_tokens=False",
        metaspace="tokenizer.metaspace.json, legacy=False as transformers 5.x writes it (Metaspace, first)",
        decoded="sentencepiece decode of the sentencepiece ids"))
    import json
    with open(f"{common.OUT}/tokenizer/expected.json", encoding="utf-8") as f:
        head = f.read().rstrip()[:-1].rstrip()
    with open(f"{common.OUT}/tokenizer/expected.json", "w", encoding="utf-8") as f:
        f.write(head + ',\n "strings": [\n' + ",\n".join(json.dumps(r, ensure_ascii=True) for r in rows) + "\n]}\n")


if __name__ == "__main__":
    shutil.rmtree(common.OUT, ignore_errors=True)
    common.make_images()
    tokens = common.Tokens()
    tokenizer_fixture(tokens)
    for seed in (1, 2, 3):
        layouts.hf(tokens, seed, False)
        layouts.hf(tokens, seed, True)
        layouts.original(tokens, seed)
        layouts.reward(tokens, seed)
        layouts.peft(tokens, seed)
        print("seed", seed, "done", flush=True)
