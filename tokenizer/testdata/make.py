#!/usr/bin/env python3
"""Makes small SentencePiece models and the ids that Google's library gives for texts (Debian: python3-sentencepiece).

Run in this folder. Training is deterministic, so that a run leaves the files as they are.
"""
import io
import json
import re
import string
import sentencepiece as spm

captions = [re.sub(r"[][]", "", line).strip() for line in open("../../caption/testdata/phrases.txt") if not line.startswith("#")]
korean = ["빨간 공을 쫓는 개", "눈 덮인 산 위의 작은 집", "파란 모자를 쓴 아이가 웃는다", "개와 고양이가 함께 잔다"] * 3
corpus = [caption.lower() for caption in captions] + korean

rules = {"\ufb01": "fi", "\ufb02": "fl", "\uff21": "A", "\u00bd": "1\u20442", "\u2460": "1", "\u3000": " ", "\t": " ", "e\u0301": "é", "\u00ad": ""}
with open("/tmp/rules.tsv", "w") as out:
    for source, target in rules.items():
        print(" ".join("%04X" % ord(c) for c in source), " ".join("%04X" % ord(c) for c in target), sep="\t", file=out)


def train(**options):
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, num_threads=1, minloglevel=2, **options)
    return model.getvalue()


models = {
    # As SigLIP's: unigram, </s> = 1 as end and padding.
    "unigram": train(vocab_size=420, model_type="unigram", character_coverage=0.995, normalization_rule_tsv="/tmp/rules.tsv",
                     pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", user_defined_symbols=["<sep>", "picnic"]),
    # As Gemma's: BPE, unknown characters cut into bytes, spaces kept, no space before the text.
    "bpe": train(vocab_size=700, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
                 remove_extra_whitespaces=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>",
                 bos_piece="<bos>", character_coverage=0.995, user_defined_symbols=["\n\n", "<unused0>", "\u2581\u2581"]),
}
texts = captions[::4] + korean[:4] + [
    "", " ", "a", "dog", "A photo of a CAT, on a mat!", "  two   spaces  ", "ﬁne ﬂow Ａ½①", "tab\there", "e\u0301 é", "soft\u00adhyphen",
    "unknown 字 文字 ☃☃☃ x☃y", "picnic basketpicnics <sep> x", "a\n\nb <unused0>", "don't re-do 3.14", "🐱", "İstanbul ΣΑΣ", "dog\u2581cat", "zzzzzzzzzzqqqqq",
    "\u00a0no break", "x" * 70,
]
with open("sentencepiece.jsonl", "w") as out:
    for name, model in models.items():
        open(name + ".model", "wb").write(model)
        processor = spm.SentencePieceProcessor(model_proto=model)
        for text in texts:
            clean = text.lower()
            if name == "unigram":
                clean = clean.replace("\u2581", " ").translate(str.maketrans("", "", string.punctuation))
                clean = re.sub(r"\s+", " ", clean).strip()
            print(json.dumps({"model": name, "text": text, "ids": processor.encode(clean)}), file=out)
