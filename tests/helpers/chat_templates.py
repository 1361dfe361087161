"""Small chat templates in the manner of the families in use."""

from __future__ import annotations

CHATML = """\
{% for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{% endfor %}
{% if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' -}}
{% endif %}
"""

# As SmolLM2: a system turn of its own where the chat has none.
CHATML_WITH_SYSTEM = """\
{% for message in messages %}{% if loop.first and message.role != 'system' %}<|im_start|>system
You help.<|im_end|>
{% endif %}<|im_start|>{{ message.role }}
{{ message.content | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- set rest = messages %}
{%- set system = "" %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nDate: " ~ date_string ~ "\\n\\n" ~ system ~ "<|eot_id|>" }}
{%- for message in rest %}
    {%- if tools is not none and loop.first %}
        {{- "<|start_header_id|>tools<|end_header_id|>\\n\\n" + tools | tojson(indent=2) + "<|eot_id|>" }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

LLAMA2 = """\
{% if messages[0]['role'] == 'system' %}
{% set system = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' %}
{% set turns = messages[1:] %}
{% else %}
{% set system = '' %}
{% set turns = messages %}
{% endif %}
{% for message in turns %}
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate between user and assistant') }}
{% endif %}
{% if message.role == 'user' %}
{{- bos_token + '[INST] ' + (system if loop.first else '') + message.content.strip() + ' [/INST]' -}}
{% else %}
{{- ' ' + message.content.strip() + ' ' + eos_token -}}
{% endif %}
{% endfor %}
"""

# As TinyLlama and Zephyr, where the role's tag is no token of its own.
ZEPHYR = """\
{% for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' -}}
{% if loop.last and add_generation_prompt %}
{{- '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

# As reasoning models: only what follows the thoughts is repeated.
THINKING = """\
{{- bos_token }}{% for message in messages %}
{%- set content = message.content %}
{%- if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}"""
