"""What TRL makes of the pairs of a run: one step of its DPO trainer on a vision language model.

    adwright learner --pairs PAIRS ...
    python verify_trl.py fixtures/llava-hf-1.5/1 PAIRS
"""

import os
import sys
import tempfile

from datasets import Image, Sequence, load_dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig, DPOTrainer

CHAT = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}{% for c in m['content'] %}"
    "{{ '<image>\n' if c['type'] == 'image' else c['text'] }}{% endfor %}{{ ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def main():
    model, pairs = (os.path.abspath(path) for path in sys.argv[1:])
    os.chdir(pairs)  # the images' paths are relative to the file
    data = load_dataset("json", data_files="pairs.jsonl", split="train").cast_column("images", Sequence(Image()))
    processor = AutoProcessor.from_pretrained(model)
    processor.chat_template = processor.tokenizer.chat_template = CHAT
    with tempfile.TemporaryDirectory() as out:
        settings = DPOConfig(
            output_dir=out, max_steps=1, per_device_train_batch_size=2, use_cpu=True, bf16=False, report_to=[],
            logging_steps=1, max_length=None,
        )
        trainer = DPOTrainer(
            AutoModelForImageTextToText.from_pretrained(model), args=settings, train_dataset=data, processing_class=processor
        )
        trainer.train()
        loss = trainer.state.log_history[0]["loss"]
    print(f"{len(data)} pairs, loss of the first step {loss:.4f}")
    assert abs(loss - 0.6931) < 1e-3, "the first step's loss is ln 2"


main()
