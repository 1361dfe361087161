"""From requests to tokens: sampling parameters, generation, and `LLM`, the face of it all."""

from __future__ import annotations
