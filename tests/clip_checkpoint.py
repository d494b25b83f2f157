"""CLIP checkpoints with random weights and the real vocabulary, saved as the Hub holds them."""

from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
NAMES = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


def save_clip(folder: Path, encoder: dict[str, int] | None = None) -> Path:
    """Save a CLIPModel with its tokenizer and image processor.

    Args:
        folder: where to.
        encoder: the sizes of both encoders; ViT-B/32's where none are given.
    """
    torch.manual_seed(0)
    real = SimpleTokenizer()
    vocabulary = {NAMES.get(token, token): index for token, index in real.encoder.items()}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(real.bpe_ranks), model_max_length=77)
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(text_config={**(encoder or {}), **special}, vision_config=encoder or {})
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
    return folder
