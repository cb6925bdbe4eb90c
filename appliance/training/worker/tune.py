"""Train a LoRA adapter through unsloth: supervised on answers, then by preference on pairs.

One code path for CUDA and CPU (unsloth has a back end for each). Samples are laid out with the
base's own chat template and cut into tokens here, once: so the begin token stands once, the loss
is on the answer only, and a sample that does not fit is refused, never cut.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

# unsloth patches the others, so it comes first.
import unsloth  # noqa: F401 - imported for its effect
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

from appliance.training.worker.common import (
    device,
    finish,
    read_jsonl,
    seed_all,
    shared_arguments,
    train,
    versions,
)
from appliance.training.worker.protocol import (
    EXIT_TEMPLATE,
    EXIT_TOO_LONG,
    OUTPUT_FOLDER,
    Channel,
)

ADAPTER = "default"
NAMED_AT_MOST = 20  # too long samples named in the answer; the count says how many there are


def run_tune(job: dict[str, Any], run: Path, channel: Channel) -> None:
    """Run the ``sft`` or the ``preference`` stage and write the adapter as a PEFT folder."""
    seed_all(job["seed"])
    model, tokenizer = load(job)
    check_template(job, tokenizer, channel)
    part = job["part"]
    samples = read_jsonl(run / "samples.jsonl")
    sft = job["stage"] == "sft"
    encoded = [(encode_sft if sft else encode_pair)(s, tokenizer) for s in samples]
    encoded, left_out = fitting(encoded, part, channel)
    check_begin([e["input_ids"] for e in encoded], tokenizer, channel)
    make = sft_trainer if sft else preference_trainer
    trainer = make(job, run, model, tokenizer, encoded)
    measured = train(trainer, run, channel)
    save(trainer.model, run / OUTPUT_FOLDER, job["base_hash"])
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    finish(
        run,
        channel,
        {
            "samples": len(encoded),
            "left_out": left_out,
            "trained_parameters": trained,
            "device": device(),
        }
        | {"versions": versions()}
        | measured,
    )


def load(job: dict[str, Any]) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return base and adapter: a new one, or the one the stage before left."""
    import torch

    lora = job["lora"]
    dtype = torch.float32 if device() == "cpu" else None
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=job["base"],
        max_seq_length=job["part"]["max_length"],
        dtype=dtype,
        load_in_4bit=lora["four_bit_base"] and device() == "cuda",
        local_files_only=True,
        trust_remote_code=False,
        use_gradient_checkpointing="unsloth" if device() == "cuda" else False,
    )
    if job["adapter"]:
        model = PeftModel.from_pretrained(
            model, job["adapter"], is_trainable=True, local_files_only=True
        )
    else:
        model = FastLanguageModel.get_peft_model(
            model,
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=lora["target_modules"],
            bias="none",
            random_state=job["seed"],
            use_gradient_checkpointing="unsloth" if device() == "cuda" else False,
        )
    return model, tokenizer


def check_template(job: dict[str, Any], tokenizer: Any, channel: Channel) -> None:
    """Stop when the template is not the pinned one: training and service must agree."""
    found = hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()
    if found != job["template_sha256"]:
        channel.send("stopped", code=EXIT_TEMPLATE, why="another chat template than the pinned")
        sys.exit(EXIT_TEMPLATE)


def layout(prompt: list[dict[str, str]], answer: str, tokenizer: Any) -> tuple[str, str]:
    """Return prompt and completion as text, without a begin token, up to the end token.

    The begin token is left to the tokenizer, as the engines do it: in the template and again from
    the tokenizer would be twice.
    """
    messages = [*prompt, {"role": "assistant", "content": answer}]
    asked = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    if tokenizer.bos_token:
        asked = asked.removeprefix(tokenizer.bos_token)
        whole = whole.removeprefix(tokenizer.bos_token)
    if not whole.startswith(asked):
        raise ValueError("the chat template writes a prompt otherwise when an answer follows")
    completion = whole.removeprefix(asked)
    end = tokenizer.eos_token
    return asked, completion if completion.endswith(end) else completion.rstrip("\n")


def encode(prompt: str, completion: str, tokenizer: Any) -> dict[str, list[int]]:
    """Return tokens and a mask that is 1 on the answer, with an end token."""
    asked: list[int] = tokenizer(prompt)["input_ids"]
    if not completion.endswith(tokenizer.eos_token):
        completion += tokenizer.eos_token
    whole: list[int] = tokenizer(prompt + completion)["input_ids"]
    shared = next(
        (i for i, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b),
        min(len(asked), len(whole)),
    )
    return {"input_ids": whole, "completion_mask": [0] * shared + [1] * (len(whole) - shared)}


def encode_sft(sample: dict[str, Any], tokenizer: Any) -> dict[str, list[int]]:
    """Return the tokens of one conversation and its mask."""
    return encode(*layout(sample["prompt"], sample["completion"], tokenizer), tokenizer)


def encode_pair(sample: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Return one pair as texts, and the tokens of the longer conversation."""
    prompt, chosen = layout(sample["prompt"], sample["chosen"], tokenizer)
    _, rejected = layout(sample["prompt"], sample["rejected"], tokenizer)
    both = [encode(prompt, answer, tokenizer)["input_ids"] for answer in (chosen, rejected)]
    return {
        "text": {"prompt": prompt, "chosen": chosen, "rejected": rejected},
        "input_ids": max(both, key=len),
    }


def fitting(
    encoded: list[dict[str, Any]], part: dict[str, Any], channel: Channel
) -> tuple[list[dict[str, Any]], int]:
    """Return the samples that fit; stop at one that does not, unless the recipe leaves them out.

    A sample is never cut: half an answer would be taught as a whole one.
    """
    limit = part["max_length"]
    lengths = [len(e["input_ids"]) for e in encoded]
    long = [i for i, length in enumerate(lengths) if length > limit]
    kept = [e for e, length in zip(encoded, lengths, strict=True) if length <= limit]
    if long and (part["too_long"] == "refuse" or not kept):
        channel.send(
            "stopped",
            code=EXIT_TOO_LONG,
            why="samples do not fit",
            count=len(long),
            positions=long[:NAMED_AT_MOST],
            longest=max(lengths),
            limit=limit,
        )
        sys.exit(EXIT_TOO_LONG)
    return kept, len(long)


def check_begin(rows: list[list[int]], tokenizer: Any, channel: Channel) -> None:
    """Stop when a sample begins with two begin tokens: a form that is never served."""
    begin = tokenizer.bos_token_id
    if begin is not None and any(row[:2] == [begin, begin] for row in rows):
        channel.send("stopped", code=EXIT_TEMPLATE, why="two begin tokens")
        sys.exit(EXIT_TEMPLATE)


def tune_arguments(job: dict[str, Any], run: Path, samples: int) -> dict[str, Any]:
    """Return the arguments both stages share."""
    part = job["part"]
    step = part["batch"] * part["accumulation"]
    steps = max(1, -(-samples // step)) * part["epochs"]
    return shared_arguments(job, run) | {
        "per_device_train_batch_size": part["batch"],
        "gradient_accumulation_steps": part["accumulation"],
        "num_train_epochs": part["epochs"],
        "warmup_steps": round(steps * part["warmup_ratio"]),
        "max_length": None,  # nothing is ever cut; lengths were checked above
        "gradient_checkpointing": False,
        "dataset_num_proc": None,
        "optim": "adamw_torch",
        "weight_decay": 0.0,
    }


def sft_trainer(
    job: dict[str, Any], run: Path, model: Any, tokenizer: Any, encoded: list[dict[str, Any]]
) -> SFTTrainer:
    """Return the trainer of the supervised stage."""
    arguments = SFTConfig(
        **tune_arguments(job, run, len(encoded)), packing=False, completion_only_loss=True
    )
    rows = Dataset.from_list(encoded)
    return SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)


def preference_trainer(
    job: dict[str, Any], run: Path, model: Any, tokenizer: Any, encoded: list[dict[str, Any]]
) -> Any:
    """Return the trainer of the preference stage."""
    part = job["part"]
    rows = Dataset.from_list([e["text"] for e in encoded])
    shared = tune_arguments(job, run, len(encoded))
    if part["method"] == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        shared["max_length"] = part["max_length"]
        arguments = ORPOConfig(**shared, beta=part["beta"])
        return ORPOTrainer(
            model=model, args=arguments, train_dataset=rows, processing_class=tokenizer
        )
    losses: dict[str, Any] = {"loss_type": ["sigmoid"]}
    if part["sft_weight"]:
        losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, part["sft_weight"]]}
    return DPOTrainer(
        model=model,
        args=DPOConfig(**shared, **losses, beta=part["beta"]),
        train_dataset=rows,
        processing_class=tokenizer,
    )


def save(model: Any, folder: Path, base_hash: str) -> None:
    """Write the adapter alone, without the frozen copy that served as reference.

    It names its base by hash: a path of this machine would make equal adapters differ.
    """
    model.save_pretrained(folder, selected_adapters=[ADAPTER])
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_bytes()) | {"base_model_name_or_path": base_hash}
    path.write_text(json.dumps(config, sort_keys=True, indent=1), encoding="utf-8")
