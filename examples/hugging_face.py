"""Hugging Face: its Trainer fine-tunes a causal language model in stages. Nothing is downloaded.

pip install "torchsid[hf]"
python examples/hugging_face.py
"""

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import DataCollatorForLanguageModeling, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainingArguments

from torchsid.integrations.hf import SIDTrainer, untie

LINES = ["to be or not to be", "that is the question", "whether it is nobler in the mind to suffer", "or to take arms"] * 16

words = Tokenizer(models.WordLevel(unk_token="?"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.train_from_iterator(LINES, trainers.WordLevelTrainer(special_tokens=["?", "."]))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=".", unk_token="?")
shape = {"n_embd": 32, "n_layer": 4, "n_head": 2, "n_positions": 32, "bos_token_id": 1, "eos_token_id": 1}
model = untie(GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape)))  # or AutoModelForCausalLM.from_pretrained(...)

trainer = SIDTrainer(  # was: Trainer
    model=model,
    stages=2,
    args=TrainingArguments("tuned", num_train_epochs=3, learning_rate=1e-2, logging_steps=12, report_to="none", use_cpu=True),
    train_dataset=[dict(tokenizer(line)) for line in LINES],
    eval_dataset=[dict(tokenizer(line)) for line in LINES[:4]],
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
print(trainer.cascade.plan)
trainer.train()
print(trainer.evaluate()["eval_loss"])
trainer.save_model()  # GPT-2 as usual, and the heads of the stages beside it
